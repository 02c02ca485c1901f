//! READDIR and READDIRPLUS.

use std::collections::BTreeSet;

use bytes::Bytes;
use gateway_nfs::protocol::Procedure;
use gateway_nfs::protocol::args::{CreateHow, ReadDirArgs};
use gateway_sunrpc::xdr::Decoder;
use tests_nfs::{Client, OK, World, flag, mode, number, opaque, post_op, root};

const TOOSMALL: u32 = 10_005;

struct Page {
    names: Vec<Bytes>,
    cookie: u64,
    end: bool,
}

fn page(client: &Client, dir: &Bytes, cookie: u64, count: u32, plus: bool) -> Result<Page, u32> {
    let args = ReadDirArgs { dir: dir.clone(), cookie, verifier: [0; 8], dircount: count, maxcount: count };
    let procedure = if plus { Procedure::ReadDirPlus } else { Procedure::ReadDir };
    let mut reply = client.call(procedure, |out| args.encode(out, plus));
    let status = number(&mut reply);
    assert!(reply.remaining() <= count as usize || status != OK, "{} > {count}", reply.remaining());
    if status != OK {
        return Err(status);
    }
    assert!(post_op(&mut reply).is_some());
    reply.fixed::<8>().expect("the verifier");
    let (mut names, mut last) = (Vec::new(), cookie);
    while flag(&mut reply) {
        names.push(entry(&mut reply, &mut last, plus));
    }
    let end = flag(&mut reply);
    assert_eq!(reply.remaining(), 0);
    Ok(Page { names, cookie: last, end })
}

fn entry(reply: &mut Decoder, cookie: &mut u64, plus: bool) -> Bytes {
    let fileid = reply.u64().expect("a number");
    let name = opaque(reply);
    *cookie = reply.u64().expect("a cookie");
    if plus {
        if let Some(attr) = post_op(reply) {
            assert_eq!(attr.fileid, fileid);
        }
        if flag(reply) {
            opaque(reply);
        }
    }
    name
}

#[test]
fn h44_each_name_comes_once_whatever_the_size_of_the_reply() {
    for entries in [0_usize, 1, 2, 999, 1000, 1001] {
        let world = World::new();
        let client = world.client(0);
        for number in 0..entries {
            let name = format!("n{number:0width$}", width = 1 + number % 60);
            assert_eq!(client.create(&root(), name.as_bytes(), CreateHow::Guarded(mode(0o644))).0, OK);
        }
        for (count, plus) in
            [(512, false), (512, true), (4096, false), (4096, true), (1 << 20, false), (u32::MAX, true)]
        {
            let (mut seen, mut cookie, mut all) = (BTreeSet::new(), 0, 0);
            loop {
                let page = page(&client, &root(), cookie, count, plus).expect("a page");
                all += page.names.len();
                seen.extend(page.names);
                cookie = page.cookie;
                if page.end {
                    break;
                }
            }
            assert_eq!((all, seen.len()), (entries + 2, entries + 2), "{count} {plus}");
        }
    }
}

#[test]
fn h44_limits_are_kept_to_the_byte() {
    let world = World::new();
    let client = world.client(0);
    for plus in [false, true] {
        let whole = (100..2000).find(|count| page(&client, &root(), 0, *count, plus).is_ok_and(|page| page.end));
        let whole = whole.expect("`.` and `..` fit");
        assert_eq!(page(&client, &root(), 0, whole - 1, plus).map(|page| page.names.len()), Ok(1));
        assert_eq!(page(&client, &root(), 0, 100, plus).map(|page| page.names.len()), Err(TOOSMALL));
        assert_eq!(page(&client, &root(), 0, 0, plus).map(|page| page.names.len()), Err(TOOSMALL));
    }
}

#[test]
fn h44_a_listing_goes_on_while_names_come_and_go_and_after_a_restart() {
    let world = World::new();
    let client = world.client(0);
    for number in 0..100 {
        client.create(&root(), format!("stay{number}").as_bytes(), CreateHow::Guarded(mode(0o644)));
    }
    let first = page(&client, &root(), 0, 1024, false).expect("a page");
    let gone = first.names.last().expect("a name").clone();
    client.call(Procedure::Remove, |out| tests_nfs::place(&root(), &gone).encode(out));
    client.create(&root(), b"new", CreateHow::Guarded(mode(0o644)));
    let world = world.restarted();
    let (mut names, mut cookie) = (first.names, first.cookie);
    loop {
        let page = page(&world.client(0), &root(), cookie, 1024, false).expect("a page");
        names.extend(page.names);
        cookie = page.cookie;
        if page.end {
            break;
        }
    }
    let stable = names.iter().filter(|name| name.starts_with(b"stay")).count();
    assert_eq!((stable, names.iter().collect::<BTreeSet<_>>().len()), (100, names.len()));
}
