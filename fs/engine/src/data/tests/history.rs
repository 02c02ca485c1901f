//! Random histories against vectors of bytes: reads, sizes, data and holes, through restarts and crashes.

use fs_api::{FallocateMode, Ino, SeekFrom};
use proptest::prelude::*;

use super::world::{World, noise};

/// Small against a frame, and beyond a frame.
const SCALES: [u64; 2] = [1, 40_009];
const SPACE: u64 = 24;
const FILES: usize = 2;

#[derive(Clone, Debug)]
enum Step {
    Write { file: usize, at: u64, len: u64, seed: u64 },
    Truncate { file: usize, size: u64 },
    Allocate { file: usize, at: u64, len: u64, keep_size: bool },
    Zero { file: usize, at: u64, len: u64, keep_size: bool },
    Punch { file: usize, at: u64, len: u64 },
    Copy { from: usize, from_at: u64, to: usize, to_at: u64, len: u64 },
    Sync,
    Upload { forget: bool },
    Again { orderly: bool },
}

/// What a file holds; `None` is a hole or a reservation.
#[derive(Clone, Debug, Default)]
struct Model(Vec<Option<u8>>);

impl Model {
    fn put(&mut self, at: u64, bytes: impl ExactSizeIterator<Item = Option<u8>>) {
        let (at, end) = (at as usize, at as usize + bytes.len());
        if self.0.len() < end {
            self.0.resize(end, None);
        }
        self.0[at..end].iter_mut().zip(bytes).for_each(|(place, byte)| *place = byte);
    }

    fn clear(&mut self, at: u64, len: u64, only_inside: bool) {
        let end = if only_inside { (at + len).min(self.0.len() as u64) } else { at + len };
        if at < end {
            self.put(at, vec![None; (end - at) as usize].into_iter());
        }
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.iter().map(|byte| byte.unwrap_or(0)).collect()
    }
}

fn step() -> impl Strategy<Value = Step> {
    let (file, at, len) = (0..FILES, 0..SPACE, 1..SPACE / 2);
    prop_oneof![
        8 => (file.clone(), at.clone(), len.clone(), any::<u64>())
            .prop_map(|(file, at, len, seed)| Step::Write { file, at, len, seed }),
        2 => (file.clone(), 0..SPACE * 2).prop_map(|(file, size)| Step::Truncate { file, size }),
        1 => (file.clone(), at.clone(), len.clone(), any::<bool>())
            .prop_map(|(file, at, len, keep_size)| Step::Allocate { file, at, len, keep_size }),
        1 => (file.clone(), at.clone(), len.clone(), any::<bool>())
            .prop_map(|(file, at, len, keep_size)| Step::Zero { file, at, len, keep_size }),
        1 => (file.clone(), at.clone(), len.clone()).prop_map(|(file, at, len)| Step::Punch { file, at, len }),
        2 => (file.clone(), at.clone(), file, at, len)
            .prop_map(|(from, from_at, to, to_at, len)| Step::Copy { from, from_at, to, to_at, len }),
        1 => Just(Step::Sync),
        1 => any::<bool>().prop_map(|forget| Step::Upload { forget }),
        1 => any::<bool>().prop_map(|orderly| Step::Again { orderly }),
    ]
}

struct Run {
    world: Option<World>,
    inos: Vec<Ino>,
    models: Vec<Model>,
    scale: u64,
}

impl Run {
    fn new(scale: u64) -> Self {
        let world = World::new();
        let inos = (0..FILES).map(|n| world.create(&format!("file-{n}"))).collect();
        Self { world: Some(world), inos, models: vec![Model::default(); FILES], scale }
    }

    fn world(&self) -> &World {
        self.world.as_ref().expect("there is a world between steps")
    }

    fn take(&mut self, step: Step) {
        let scale = self.scale;
        match step {
            Step::Write { file, at, len, seed } => {
                let data = noise(seed, (len * scale) as usize);
                self.world().write(self.inos[file], at * scale, &data);
                self.models[file].put(at * scale, data.into_iter().map(Some));
            }
            Step::Truncate { file, size } => {
                self.world().truncate(self.inos[file], size * scale);
                self.models[file].0.resize((size * scale) as usize, None);
            }
            Step::Allocate { file, at, len, keep_size } => {
                let mode = FallocateMode::Allocate { keep_size };
                self.world().fallocate(self.inos[file], at * scale, len * scale, mode).expect("allocate");
                let end = ((at + len) * scale) as usize;
                if !keep_size && self.models[file].0.len() < end {
                    self.models[file].0.resize(end, None);
                }
            }
            Step::Zero { file, at, len, keep_size } => {
                let mode = FallocateMode::ZeroRange { keep_size };
                self.world().fallocate(self.inos[file], at * scale, len * scale, mode).expect("zero");
                self.models[file].clear(at * scale, len * scale, keep_size);
            }
            Step::Punch { file, at, len } => {
                let mode = FallocateMode::PunchHole;
                self.world().fallocate(self.inos[file], at * scale, len * scale, mode).expect("punch");
                self.models[file].clear(at * scale, len * scale, true);
            }
            Step::Copy { from, from_at, to, to_at, len } => self.copy(from, from_at, to, to_at, len),
            Step::Sync => self.world().sync(),
            Step::Upload { forget: true } => self.world().upload_and_forget(),
            Step::Upload { forget: false } => self.world().upload(),
            Step::Again { orderly } => {
                self.world().sync();
                // A crash takes the index with it; what was retired from the journal can then not be replayed.
                let orderly = orderly || self.world().engine.journal.segments().iter().all(|s| s.first_lsn.0 != 1);
                self.world = self.world.take().map(|world| world.again(orderly));
            }
        }
    }

    fn copy(&mut self, from: usize, from_at: u64, to: usize, to_at: u64, len: u64) {
        let scale = self.scale;
        let (from_at, to_at, len) = (from_at * scale, to_at * scale, len * scale);
        let size = self.models[from].0.len() as u64;
        let len_inside = len.min(size.saturating_sub(from_at));
        let copied = self.world().copy(self.inos[from], from_at, self.inos[to], to_at, len);
        if from == to && from_at < to_at + len_inside && to_at < from_at + len_inside {
            assert_eq!(copied, Err(objstore_base::ErrorKind::InvalidArgument));
            return;
        }
        assert_eq!(copied, Ok(len_inside));
        if len_inside > 0 {
            let bytes = self.models[from].0[from_at as usize..(from_at + len_inside) as usize].to_vec();
            self.models[to].put(to_at, bytes.into_iter());
        }
    }

    fn compare_accounts(&self) {
        let report = self.world().runtime.block_on(self.world().engine.check()).expect("check");
        assert_eq!(report.findings, [""; 0]);
    }

    fn compare_files(&self) {
        for (ino, model) in self.inos.iter().zip(&self.models) {
            let world = self.world();
            let expected = model.bytes();
            assert_eq!(world.size(*ino), expected.len() as u64);
            let found = world.read(*ino, 0, u32::MAX);
            assert!(found == expected, "{ino}: the first difference is at {:?}", first_difference(&found, &expected));
            let (from, to) = (expected.len() / 3, expected.len() / 2);
            assert_eq!(world.read(*ino, from as u64, (to - from) as u32), &expected[from..to]);
            self.compare_holes(*ino, model);
        }
    }

    fn compare_holes(&self, ino: Ino, model: &Model) {
        for at in (0..model.0.len()).step_by(self.scale as usize) {
            let data = (at..model.0.len()).find(|at| model.0[*at].is_some()).map(|at| at as u64);
            assert_eq!(self.world().seek(ino, SeekFrom::Data(at as u64)), data, "data from {at} of {ino}");
            let hole = (at..model.0.len()).find(|at| model.0[*at].is_none()).unwrap_or(model.0.len());
            assert_eq!(self.world().seek(ino, SeekFrom::Hole(at as u64)), Some(hole as u64), "hole from {at} of {ino}");
        }
        let end = model.0.len() as u64;
        assert_eq!(self.world().seek(ino, SeekFrom::Data(end)), None);
        assert_eq!(self.world().seek(ino, SeekFrom::Hole(end)), None);
    }
}

fn first_difference(a: &[u8], b: &[u8]) -> Option<usize> {
    a.iter().zip(b).position(|(a, b)| a != b)
}

fn cases() -> u32 {
    if std::env::var_os("TIDEGATE_DEEP").is_some() { 500 } else { 40 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_reads_as_its_model(steps in proptest::collection::vec(step(), 1..25), scale in 0..SCALES.len()) {
        let mut run = Run::new(SCALES[scale]);
        for step in steps {
            run.take(step);
            run.compare_files();
        }
        run.compare_accounts();
        run.world = run.world.take().map(|world| world.again(true));
        run.compare_files();
        run.compare_accounts();
    }
}
