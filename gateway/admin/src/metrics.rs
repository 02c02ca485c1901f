//! Everything that is counted, in the text format of Prometheus (OpenMetrics 1.0).

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::counters::DoorStats;

/// What the text is, for HTTP.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a value means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Grows since the start.
    Counter,
    Gauge,
}

/// One value of a service: no door's, those are in [`DoorStats`].
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// With its unit at the end, without `tidegate_` and `_total`.
    pub name: &'static str,
    pub help: &'static str,
    pub kind: Kind,
    /// Of few values; for all values of the name, or for none.
    pub label: Option<(&'static str, String)>,
    pub value: f64,
}

impl Value {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        match self.kind {
            Kind::Counter => ConstCounter::new(self.value).encode(encoder),
            Kind::Gauge => ConstGauge::new(self.value).encode(encoder),
        }
    }
}

/// Values of one name follow each other.
#[derive(Debug)]
struct Snapshot {
    doors: Vec<DoorStats>,
    values: Vec<Value>,
}

/// # Errors
/// Where a value cannot be written as text.
pub fn text(doors: Vec<DoorStats>, values: Vec<Value>) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("tidegate");
    registry.register_collector(Box::new(Snapshot { doors, values }));
    let mut out = String::new();
    prometheus_client::encoding::text::encode(&mut out, &registry)?;
    Ok(out)
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_values(&mut encoder)?;
        self.encode_doors(&mut encoder)
    }
}

impl Snapshot {
    fn encode_values(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for group in self.values.chunk_by(|a, b| a.name == b.name) {
            let Some(first) = group.first() else { continue };
            let metric_type = match first.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
            };
            let mut family = encoder.encode_descriptor(first.name, first.help, None, metric_type)?;
            if first.label.is_none() {
                first.encode(family)?;
                continue;
            }
            for value in group {
                let labels = value.label.as_ref().map_or(("", ""), |(name, is)| (*name, is.as_str()));
                value.encode(family.encode_family(&[labels])?)?;
            }
        }
        Ok(())
    }

    fn encode_doors(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Operations under way.";
        let mut family = encoder.encode_descriptor("door_in_flight", help, None, MetricType::Gauge)?;
        for door in &self.doors {
            let labels = [("door", door.door.as_str())];
            let metric = family.encode_family(&labels)?;
            ConstGauge::new(door.in_flight as f64).encode(metric)?;
        }
        let help = "Operations that failed, also where the failure is the right answer.";
        self.encode_ops(encoder, "door_errors", help, |op| op.errors)?;
        let help = "Bytes read, written or copied.";
        self.encode_ops(encoder, "door_bytes", help, |op| op.bytes)?;
        let help = "How long operations took.";
        let mut family = encoder.encode_descriptor("door_duration_seconds", help, None, MetricType::Histogram)?;
        for door in &self.doors {
            for op in &door.ops {
                let labels = [("door", door.door.as_str()), ("op", op.op.as_str())];
                let mut metric = family.encode_family(&labels)?;
                let (sum, count) = (op.latency.sum_us as f64 / 1e6, op.latency.count());
                metric.encode_histogram::<NoLabelSet>(sum, count, &op.latency.buckets(), None)?;
            }
        }
        Ok(())
    }

    fn encode_ops(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        value: impl Fn(&crate::OpStats) -> u64,
    ) -> fmt::Result {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for door in &self.doors {
            for op in &door.ops {
                let labels = [("door", door.door.as_str()), ("op", op.op.as_str())];
                let metric = family.encode_family(&labels)?;
                ConstCounter::new(value(op)).encode(metric)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::counters::DoorCounters;
    use crate::op::Op;

    #[test]
    fn every_value_is_in_the_text_with_its_labels() {
        let counters = DoorCounters::new("nfs");
        counters.note(Op::Read, None, Duration::from_micros(100), 4096, false);
        counters.note(Op::Read, None, Duration::from_micros(100), 0, true);
        let value = |name, kind, label: Option<(&'static str, &str)>, value| Value {
            name,
            help: "Help.",
            kind,
            label: label.map(|(name, is)| (name, is.to_owned())),
            value,
        };
        let values = vec![
            value("dirty_bytes", Kind::Gauge, None, 7.0),
            value("drive_free_bytes", Kind::Gauge, Some(("drive", "a \"b\"")), 1.0),
            value("drive_free_bytes", Kind::Gauge, Some(("drive", "c")), 2.0),
            value("uploaded_segments", Kind::Counter, None, 3.0),
        ];
        let text = text(vec![counters.stats()], values).expect("plain numbers");
        for line in [
            "tidegate_dirty_bytes 7.0",
            "tidegate_drive_free_bytes{drive=\"a \\\"b\\\"\"} 1.0",
            "tidegate_drive_free_bytes{drive=\"c\"} 2.0",
            "tidegate_uploaded_segments_total 3.0",
            "tidegate_door_errors_total{door=\"nfs\",op=\"read\"} 1",
            "tidegate_door_bytes_total{door=\"nfs\",op=\"read\"} 4096",
            "tidegate_door_duration_seconds_count{door=\"nfs\",op=\"read\"} 2",
            "tidegate_door_duration_seconds_bucket{le=\"0.000128\",door=\"nfs\",op=\"read\"} 2",
            "tidegate_door_duration_seconds_bucket{le=\"+Inf\",door=\"nfs\",op=\"read\"} 2",
            "# EOF",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert_eq!(text.matches("# TYPE tidegate_drive_free_bytes").count(), 1, "{text}");
    }
}
