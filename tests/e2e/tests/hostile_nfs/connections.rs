//! Records and connections that mean harm: what they cost the service, and what they cost others.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gateway_nfs::protocol::{NFS_PROGRAM, Procedure, VERSION};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::{NFS, serving};
use tests_e2e::wire::{OK, ROOT, Wire, call_bytes, encoded, number, record, skip_post_op, skip_wcc};

const ANNOUNCING: usize = 200;
const GROWTH_BYTES_MAX: u64 = 64 << 20;
/// The longest record that the service takes.
const RECORD_BYTES: usize = (1 << 20) + 4096;
const IDLE: usize = 5000;
/// Clients that they come from: one may have 4,096.
const HOSTS: usize = 5;
const SERVED_WITHIN: Duration = Duration::from_secs(10);

/// The most memory that the process had since the last call.
fn peak_bytes_since(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    // 5: the peak begins anew.
    fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

fn resident_bytes(pid: u32) -> u64 {
    peak_bytes_since(pid);
    peak_bytes_since(pid)
}

/// Everything that a client does, on a connection of its own: writes a file of a megabyte and reads it back.
fn served(address: std::net::SocketAddr, name: &[u8]) -> Duration {
    let begin = Instant::now();
    let mut client = Wire::connect(address);
    let root = client.mount("/files").expect("this machine is on the list");
    assert_eq!(client.getattr(&root), OK);
    let mut made = client.nfs(Procedure::Create, &ROOT, |out| {
        out.opaque(&root);
        out.opaque(name);
        // UNCHECKED, with nothing set.
        (0..7).for_each(|_| out.u32(0));
    });
    assert_eq!(number(&mut made), OK);
    let file = client.lookup(&root, name).expect("it was made");
    let data = Bytes::from(vec![0x5a; 1 << 20]);
    let mut written = client.nfs(Procedure::Write, &ROOT, |out| {
        out.opaque(&file);
        out.u64(0);
        out.u32(data.len() as u32);
        out.u32(0);
        out.opaque(&data);
    });
    assert_eq!(number(&mut written), OK);
    skip_wcc(&mut written);
    assert_eq!(number(&mut written) as usize, data.len());
    let mut read = client.nfs(Procedure::Read, &ROOT, |out| {
        out.opaque(&file);
        out.u64(0);
        out.u32(data.len() as u32);
    });
    assert_eq!(number(&mut read), OK);
    skip_post_op(&mut read);
    number(&mut read);
    read.bool().expect("the end");
    assert!(read.opaque(1 << 20).expect("the bytes") == data);
    begin.elapsed()
}

#[test]
fn h39_announced_gigabytes_cost_no_memory_and_disturb_nobody() {
    let site = serving(NFS);
    site.share(&["create", "/files", "--make", "--squash", "none"]).ok();
    let address = site.nfs_address().unwrap();
    served(address, b"before");
    let before = resident_bytes(site.pid());

    let connect = |_| Wire::connect_from(2, address).expect("the door is open");
    let mut announcing: Vec<Wire> = (0..ANNOUNCING).map(connect).collect();
    for (n, client) in announcing.iter_mut().enumerate() {
        // As the last fragment of a record, or as one of many.
        let mark: u32 = if n % 2 == 0 { u32::MAX } else { u32::MAX >> 1 };
        // The service may be quicker to close than this is to send.
        client.send(&[&mark.to_be_bytes()[..], &[0; 64 << 10]].concat()).ok();
    }
    served(address, b"meanwhile");
    assert!(announcing.iter_mut().all(Wire::is_closed), "nobody waits for two gigabytes");

    // As much as a record may have, nearly all of it sent, and never finished.
    let mut unfinished: Vec<Wire> = (0..ANNOUNCING).map(connect).collect();
    let begun = [&(0x8000_0000 | RECORD_BYTES as u32).to_be_bytes()[..], &[0; 400 << 10]].concat();
    for client in &unfinished {
        client.stream().set_write_timeout(Some(Duration::from_millis(200))).expect("a TCP socket");
    }
    thread::scope(|scope| {
        for clients in unfinished.chunks_mut(ANNOUNCING / 8) {
            // Those that the service does not read fill the buffers of the network, and give up.
            scope.spawn(|| clients.iter_mut().for_each(|client| drop(client.send(&begun))));
        }
        let small = Instant::now();
        let mut client = Wire::connect(address);
        let root = client.mount("/files").expect("this machine is on the list");
        for _ in 0..100 {
            assert_eq!(client.getattr(&root), OK);
        }
        println!("100 small calls took {:?} meanwhile", small.elapsed());
        let took = served(address, b"large");
        println!("a megabyte there and back took {took:?} meanwhile");
        assert!(took < SERVED_WITHIN, "one client's unfinished records are not another's: {took:?}");
    });
    let growth = peak_bytes_since(site.pid()).saturating_sub(before);
    println!("{} KiB more than {} KiB", growth >> 10, before >> 10);
    assert!(growth < GROWTH_BYTES_MAX, "{} MiB more", growth >> 20);
}

#[test]
fn h39_countless_and_empty_fragments_end_the_connection_and_few_do_not() {
    let site = serving(NFS);
    let address = site.nfs_address().unwrap();
    let before = resident_bytes(site.pid());
    let null = call_bytes(7, [NFS_PROGRAM, VERSION, 0], &ROOT, &[]);

    let mut client = Wire::connect(address);
    let parts: Vec<u8> = null[..null.len() - 1].iter().flat_map(|byte| [0, 0, 0, 1, *byte]).collect();
    let last = record(&null[null.len() - 1..]);
    client.send(&[parts, last].concat()).unwrap();
    assert_eq!(client.reply().unwrap().words(5), [1, 0, 0, 0, 0], "a call in fragments of a byte is a call");

    let mut client = Wire::connect(address);
    // The service closes long before the end.
    client.send(&[0, 0, 0, 1, b'x'].repeat(100_000)).ok();
    assert!(client.is_closed(), "a hundred thousand fragments make no record");

    let mut client = Wire::connect(address);
    client.send(&[[0; 4].repeat(100_000), record(&null)].concat()).ok();
    assert!(client.is_closed(), "fragments without a byte would go on for ever");

    let mut client = Wire::connect(address);
    client.send(&record(&[])).unwrap();
    assert!(client.is_closed(), "an empty record is no call");
    assert!(peak_bytes_since(site.pid()).saturating_sub(before) < GROWTH_BYTES_MAX);
    assert_eq!(Wire::connect(address).ask([NFS_PROGRAM, VERSION, 0], &ROOT, &[]).words(5), [1, 0, 0, 0, 0]);
}

/// The limit of open files, of this process and of those that it starts.
fn allow_open_files(files: u64) {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert!(
        files <= hard,
        "this test needs {files} open files, and {hard} are allowed: raise the hard limit (ulimit -Hn)"
    );
    setrlimit(Resource::RLIMIT_NOFILE, files, hard).unwrap();
}

fn open_files_allowed(pid: u32) -> (String, String) {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let mut words = line.split_whitespace().skip(3);
    (words.next().unwrap().to_owned(), words.next().unwrap().to_owned())
}

#[test]
fn h37_thousands_of_silent_and_slow_connections_leave_a_client_served() {
    // As a shell gives it: the service has to raise its own.
    allow_open_files(1024);
    let site = serving(NFS);
    let (soft, hard) = open_files_allowed(site.pid());
    assert_eq!(soft, hard, "the service takes what it may have");
    allow_open_files(IDLE as u64 + 500);
    site.share(&["create", "/files", "--make", "--squash", "none"]).ok();
    let address = site.nfs_address().unwrap();
    served(address, b"before");
    let before = resident_bytes(site.pid());

    let connect = |n: usize| Wire::connect_from(1 + (n % HOSTS) as u8, address).expect("the door is open");
    let mut connections: Vec<Wire> = (0..IDLE).map(connect).collect();
    let (idle, slow) = connections.split_at_mut(IDLE / 2);
    let call = record(&call_bytes(7, [NFS_PROGRAM, VERSION, 0], &ROOT, &[]));
    let begin = Instant::now();
    // Half a call each, and of some a byte more now and then: it is the whole call that has to be there in time.
    for client in slow.iter_mut() {
        client.send(&call[..20]).expect("it is open");
    }
    let took = served(address, b"meanwhile");
    println!("served in {took:?} beside {IDLE} connections");
    assert!(took < SERVED_WITHIN, "{took:?}");
    let mut sent = 20;
    while slow.iter_mut().any(|client| client.is_open_still()) {
        assert!(begin.elapsed() < Duration::from_secs(90), "half a call is waited for, for ever");
        if sent + 1 < call.len() {
            for client in slow.iter_mut().step_by(50) {
                client.send(&call[sent..=sent]).ok();
            }
            sent += 1;
        }
        thread::sleep(Duration::from_millis(500));
        let took = served(address, b"again");
        assert!(took < SERVED_WITHIN, "{took:?}");
    }
    println!("half calls were given up after {:?}", begin.elapsed());
    assert!(idle.iter_mut().all(Wire::is_open_still), "who asked for nothing is not sent away yet");
    let growth = peak_bytes_since(site.pid()).saturating_sub(before);
    println!("{} KiB more for {IDLE} connections", growth >> 10);
    assert!(growth < 2 * GROWTH_BYTES_MAX, "{} MiB more", growth >> 20);
    for client in idle.iter_mut().step_by(100) {
        client.send(&call).expect("it is open");
        assert_eq!(client.reply().expect("a reply").words(5), [1, 0, 0, 0, 0], "who was silent is served");
    }
}

#[test]
fn h37_one_client_cannot_take_every_connection() {
    let site = serving(NFS);
    allow_open_files(4700);
    let address = site.nfs_address().unwrap();
    let mut held: Vec<Wire> = (0..4096).map(|_| Wire::connect_from(2, address).expect("the door is open")).collect();
    // It is accepted by the kernel, and closed by the service.
    assert!(Wire::connect_from(2, address).expect("the door is open").is_closed(), "one more than it may have");
    let null = [NFS_PROGRAM, VERSION, 0];
    let reply = Wire::connect_from(3, address).expect("the door is open").ask(null, &ROOT, &encoded(|_| {}));
    assert_eq!(reply.words(5), [1, 0, 0, 0, 0], "another client is served");
    assert!(held.iter_mut().all(Wire::is_open_still));
}
