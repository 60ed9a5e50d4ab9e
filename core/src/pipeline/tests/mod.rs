mod authentication;
mod lab;
mod limits;
mod locals;
#[cfg(feature = "mutants")]
mod mutants;
mod readonly;
mod sessions;
mod throttles;
mod watches;

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::ids::Zxid;
use crate::time::WallMs;
use crate::wire::client::{MultiResult, Reply, Request, event};
use crate::wire::records::ErrorCode;
use crate::wire::txn::{Txn, TxnRecord};
use lab::{A, B, Lab, create, exists, frame, get_data, hello, set_data};

#[test]
fn reads_and_pings_wait_for_the_sessions_own_writes() {
    let mut lab = Lab::new();
    lab.join(A);
    lab.join(B);
    let mut script = frame(1, &create("/a"));
    script.extend(frame(2, &get_data("/a", false)));
    script.extend(frame(9, &Request::Ping));
    script.extend(frame(3, &set_data("/a", b"new")));
    script.extend(frame(4, &get_data("/a", false)));
    lab.send(A, &script);
    assert_eq!(lab.upstream.len(), 2, "both writes left at once");
    assert_eq!(lab.unread(A), 0);
    lab.ask(B, 1, &exists("/a", false));
    assert_eq!(lab.xids(B), [(1, -101)], "another session does not wait");

    lab.commit();
    let replies = lab.frames(A);
    let xids: Vec<i32> = replies.iter().map(|f| f.xid).collect();
    assert_eq!(xids, [1, 2, -2]);
    assert_eq!(replies[0].reply(op::CREATE), Reply::Path("/a".into()));
    let zxid = lab.db.applied().0;
    assert!(replies.iter().all(|f| f.zxid == zxid));
    let Reply::Data { data, .. } = replies[1].reply(op::GET_DATA) else {
        panic!()
    };
    assert_eq!(data, Some(&b"x"[..]));

    lab.commit();
    let replies = lab.frames(A);
    let Reply::Data { data, stat } = replies[1].reply(op::GET_DATA) else {
        panic!()
    };
    assert_eq!((data, stat.version), (Some(&b"new"[..]), 1));
    assert_eq!(lab.clients.outstanding(), 0);
}

#[test]
fn a_refused_write_answers_with_its_code_and_its_zxid() {
    let mut lab = Lab::new();
    lab.join(A);
    lab.ask(A, 1, &set_data("/missing", b""));
    lab.commit_all();
    let reply = lab.frames(A).remove(0);
    assert_eq!((reply.xid, reply.error, reply.body.len()), (1, -101, 0));
    assert_eq!(reply.zxid, lab.db.applied().0);
}

#[test]
fn events_leave_before_the_change_can_be_seen() {
    let mut lab = Lab::new();
    lab.join(A);
    lab.join(B);
    lab.ask(A, 1, &exists("/a", true));
    lab.ask(B, 1, &exists("/a", true));
    assert_eq!(
        (lab.xids(A), lab.xids(B)),
        (vec![(1, -101)], vec![(1, -101)])
    );
    assert_eq!(lab.clients.watch_count(), 2);
    lab.ask(A, 2, &create("/a"));
    lab.commit_all();
    let frames = lab.frames(A);
    assert_eq!(
        frames[0].event(),
        Some((event::NODE_CREATED, String::from("/a")))
    );
    assert_eq!(frames[0].zxid, lab.db.applied().0);
    assert_eq!(
        frames[1].xid, 2,
        "the event comes before the writer's own reply"
    );
    lab.ask(B, 2, &exists("/a", false));
    let frames = lab.frames(B);
    assert_eq!(
        frames[0].event(),
        Some((event::NODE_CREATED, String::from("/a")))
    );
    assert_eq!(frames[1].xid, 2);
    lab.ask(A, 3, &set_data("/a", b"again"));
    lab.commit_all();
    assert_eq!(lab.xids(A), [(3, 0)], "a watch fires once");
    assert_eq!(lab.clients.watch_count(), 0);
}

#[test]
fn set_watches_tells_what_was_missed_and_sets_the_rest() {
    let mut lab = Lab::new();
    lab.join(A);
    for (xid, path) in [(1, "/old"), (2, "/new")] {
        lab.ask(A, xid, &create(path));
    }
    lab.commit_all();
    let seen = lab.db.applied();
    lab.ask(A, 3, &set_data("/new", b"changed"));
    lab.commit_all();
    lab.frames(A);
    let request = Request::SetWatches {
        relative: seen,
        data: vec!["/old".into(), "/new".into(), "/gone".into()],
        exist: vec!["/old".into(), "/later".into()],
        child: vec!["/old".into(), "/gone".into()],
    };
    lab.ask(A, -8, &request);
    let frames = lab.frames(A);
    let events: Vec<_> = frames.iter().filter_map(lab::Frame::event).collect();
    let expected = [
        (event::NODE_DATA_CHANGED, "/new"),
        (event::NODE_DELETED, "/gone"),
        (event::NODE_CREATED, "/old"),
        (event::NODE_DELETED, "/gone"),
    ];
    assert_eq!(
        events,
        expected.map(|(kind, path)| (kind, String::from(path)))
    );
    assert!(frames[..4].iter().all(|f| f.zxid == -1));
    assert_eq!(
        (frames[4].xid, frames[4].error, frames[4].body.len()),
        (-8, 0, 0)
    );
    assert_eq!(lab.clients.watch_count(), 3);
    lab.ask(A, 4, &create("/later"));
    lab.commit_all();
    let later = lab.frames(A)[0].event();
    assert_eq!(later, Some((event::NODE_CREATED, String::from("/later"))));
}

#[test]
fn multi_answers_each_operation() {
    let mut lab = Lab::new();
    lab.join(A);
    let good = Request::Multi(vec![create("/a"), set_data("/a", b"2"), create("/b")]);
    let bad = Request::Multi(vec![create("/c"), create("/a"), create("/d")]);
    lab.ask(A, 1, &good);
    lab.ask(A, 2, &bad);
    lab.commit_all();
    let frames = lab.frames(A);
    let Reply::Multi(results) = frames[0].reply(op::MULTI) else {
        panic!()
    };
    assert_eq!(results[0], MultiResult::Path("/a".into()));
    assert!(matches!(&results[1], MultiResult::DataSet(stat) if stat.version == 1));
    assert_eq!(results.len(), 3);
    let codes = [0, -110, -2].map(MultiResult::Error).to_vec();
    assert_eq!(frames[1].reply(op::MULTI), Reply::Multi(codes));
}

#[test]
fn sync_keeps_its_place() {
    let mut lab = Lab::new();
    lab.join(A);
    lab.ask(
        A,
        1,
        &Request::Sync {
            path: "/any".into(),
        },
    );
    lab.ask(A, 2, &exists("/a", false));
    lab.ask(A, 3, &create("/a"));
    assert_eq!(lab.unread(A), 0);
    assert_eq!(lab.upstream.len(), 1);
    lab.commit();
    let frames = lab.frames(A);
    assert_eq!(frames[0].reply(op::SYNC), Reply::Path("/any".into()));
    assert_eq!((frames[1].xid, frames[1].error), (2, -101));
    lab.commit();
    assert_eq!(lab.xids(A), [(3, 0)]);

    // A write behind a sync is not proposed before the sync is answered: a read between the two
    // would see it, and then its reply would show an older zxid than that read.
    lab.ask(
        A,
        4,
        &Request::Sync {
            path: "/any".into(),
        },
    );
    lab.ask(A, 5, &set_data("/a", b""));
    lab.ask(A, 6, &Request::Ping);
    assert_eq!(lab.upstream.len(), 1, "only the sync is under way");
    lab.commit();
    assert_eq!(lab.xids(A), [(4, 0)]);
    lab.commit();
    assert_eq!(lab.xids(A), [(5, 0), (-2, 0)]);
}

#[test]
fn syncs_of_lost_connections_do_not_answer_others() {
    let mut lab = Lab::new();
    lab.join(A);
    lab.join(B);
    lab.ask(A, 1, &Request::Sync { path: "/a".into() });
    lab.ask(B, 1, &Request::Sync { path: "/b".into() });
    lab.clients.handle_closed(A);
    lab.commit();
    assert_eq!(lab.unread(B), 0);
    lab.commit();
    assert_eq!(lab.xids(B), [(1, 0)]);
}

#[test]
fn bad_requests_are_answered_in_their_place() {
    let mut lab = Lab::new();
    lab.join(A);
    let short = |xid: i32, op: i32| {
        let mut bytes = vec![0, 0, 0, 8];
        bytes.extend_from_slice(&xid.to_be_bytes());
        bytes.extend_from_slice(&op.to_be_bytes());
        bytes
    };
    lab.send(A, &short(1, op::GET_DATA));
    lab.send(A, &short(2, op::SYNC));
    lab.send(A, &short(3, op::SET_WATCHES));
    lab.send(A, &short(4, op::RECONFIG));
    assert_eq!(lab.xids(A), [(1, -5), (2, -5), (3, -5), (4, -5)]);
    lab.send(A, &short(5, op::CREATE));
    lab.commit_all();
    assert_eq!(lab.xids(A), [(5, -5)]);
    assert!(lab.closed.is_empty());

    lab.ask(A, 6, &create("/a"));
    lab.send(A, &short(7, 13));
    lab.ask(A, 8, &Request::Ping);
    assert_eq!(lab.unread(A), 0);
    lab.commit_all();
    let frames = lab.frames(A);
    assert_eq!((frames[0].xid, frames[0].error), (6, 0));
    assert_eq!(
        (frames[1].xid, frames[1].zxid, frames[1].error),
        (7, -1, -6)
    );
    assert_eq!(frames.len(), 2, "nothing is read after it");
    assert_eq!(lab.closed[&A], CloseReason::OperationUnknown(13));
    assert_eq!(lab.clients.connections(), 0);
}

#[test]
fn a_refusal_behind_a_write_shows_that_write() {
    let mut lab = Lab::new();
    lab.join(A);
    lab.ask(A, 1, &create("/a"));
    for op in [op::SYNC, op::RECONFIG] {
        let mut bytes = vec![0, 0, 0, 8, 0, 0, 0, 2];
        bytes.extend_from_slice(&op.to_be_bytes());
        lab.send(A, &bytes);
    }
    assert_eq!(lab.unread(A), 0);
    lab.commit_all();
    let frames = lab.frames(A);
    assert_eq!(frames[0].error, 0);
    for refusal in &frames[1..] {
        assert_eq!((refusal.error, refusal.zxid), (-5, frames[0].zxid));
    }
    assert_eq!(frames.len(), 3);
}

/// A write, reads of which the first two spend a connection's share of a turn, a write or a sync.
fn ask_with_reads_between(lab: &mut Lab, last: &Request<'_>) {
    let large = vec![b'x'; crate::limits::REPLY_BYTES_AT_ONCE / 2];
    lab.join(A);
    lab.ask(A, 1, &create("/a"));
    lab.ask(A, 2, &create("/large"));
    lab.ask(A, 3, &set_data("/large", &large));
    lab.commit_all();
    lab.frames(A);
    lab.ask(A, 4, &set_data("/a", b"first"));
    lab.ask(A, 5, &get_data("/large", false));
    lab.ask(A, 5, &get_data("/large", false));
    lab.ask(A, 6, &get_data("/a", true));
    lab.ask(A, 7, last);
}

#[test]
fn a_read_does_not_wait_beyond_the_next_write() {
    let second = set_data("/a", b"second");
    let sync = Request::Sync { path: "/a".into() };
    for last in [second, sync] {
        let mut lab = Lab::new();
        ask_with_reads_between(&mut lab, &last);
        // All in one turn: the share that the large answer has spent is not renewed.
        lab.commit_all();
        let frames = lab.frames(A);
        let read = frames.iter().position(|frame| frame.xid == 6);
        let read = read.expect("the read is answered");
        let Reply::Data { data, .. } = frames[read].reply(op::GET_DATA) else {
            panic!()
        };
        assert_eq!(data, Some(&b"first"[..]));
        let zxids: Vec<i64> = frames.iter().map(|frame| frame.zxid).collect();
        let order = zxids.iter().filter(|zxid| **zxid > 0);
        assert!(order.is_sorted(), "{zxids:?}");
        if last.op() == op::SET_DATA {
            assert!(frames[read + 1].event().is_some(), "its watch was set");
        }
        assert_eq!(frames.last().map(|frame| frame.xid), Some(7));
    }
}

#[test]
fn who_does_not_read_what_is_due_before_a_write_is_cut_off() {
    let mut lab = Lab::new();
    ask_with_reads_between(&mut lab, &set_data("/a", b"second"));
    let unread = crate::limits::CLIENT_UNREAD_BYTES;
    lab.tell_unread(A, unread);
    // Its first write: nothing else is due before it.
    lab.commit();
    assert!(lab.closed.is_empty());
    lab.commit();
    assert_eq!(lab.closed[&A], CloseReason::NotReading { unread });
}

#[test]
fn auth_counts_from_then_on_and_is_answered_in_its_place() {
    let mut lab = Lab::new();
    lab.join(A);
    let own = Request::Create {
        kind: crate::wire::client::CreateOp::Create,
        path: "/mine".into(),
        data: None,
        acl: Some(vec![crate::wire::records::Acl {
            perms: 31,
            id: crate::acl::digest_identity(b"user:secret"),
        }]),
        flags: 0,
    };
    lab.ask(A, 1, &own);
    lab.ask(A, 2, &get_data("/mine", false));
    let auth = Request::Auth {
        scheme: "digest".into(),
        auth: Some(b"user:secret"),
    };
    lab.ask(A, -4, &auth);
    lab.ask(A, 3, &get_data("/mine", false));
    assert_eq!(lab.unread(A), 0);
    lab.commit_all();
    let frames = lab.frames(A);
    let seen: Vec<_> = frames.iter().map(|f| (f.xid, f.error)).collect();
    assert_eq!(
        seen,
        [(1, 0), (2, ErrorCode::NoAuth.code()), (-4, 0), (3, 0)]
    );
    assert_eq!(frames[2].zxid, 0);
    let ip = Request::Auth {
        scheme: "ip".into(),
        auth: None,
    };
    lab.ask(A, -4, &ip);
    assert_eq!(lab.xids(A), [(-4, 0)]);
    let unknown = Request::Auth {
        scheme: "world".into(),
        auth: Some(b"anyone"),
    };
    lab.ask(A, -4, &unknown);
    assert_eq!(lab.xids(A), [(-4, -115)]);
    assert_eq!(lab.closed[&A], CloseReason::AuthFailed);
}

#[test]
fn four_letter_words_are_answered_by_the_driver_even_when_not_serving() {
    let mut lab = Lab::new();
    lab.turn(|clients, ctx| clients.stop_serving(ctx.out, CloseReason::NotServing));
    lab.open(A);
    lab.send(A, b"ru");
    assert!(lab.words.is_empty());
    lab.send(A, b"ok\n");
    assert_eq!(lab.words, [(A, crate::boundary::FourLetterWord::Ruok)]);
    lab.send(A, b"more");
    assert!(lab.closed.is_empty(), "the driver closes after its answer");
    lab.open(B);
    lab.send(B, &hello(SessionId(0), &[0; 16], 0));
    assert_eq!(lab.closed[&B], CloseReason::NotServing);
    assert_eq!(lab.clients.connections(), 0);
}

#[test]
fn bytes_that_are_no_protocol_close_the_connection() {
    let mut lab = Lab::new();
    let mut first = |conn: u64, bytes: &[u8]| {
        lab.open(ConnId(conn));
        lab.send(ConnId(conn), bytes);
        lab.closed.get(&ConnId(conn)).cloned()
    };
    assert_eq!(
        first(10, b"GET / HTTP/1.1"),
        Some(CloseReason::FrameLength(0x4745_5420))
    );
    assert_eq!(
        first(11, b"\x16\x03\x01\x02\0\x01"),
        Some(CloseReason::FrameLength(0x1603_0102))
    );
    assert_eq!(
        first(12, b"\xff\xff\xff\xff"),
        Some(CloseReason::FrameLength(-1))
    );
    assert_eq!(first(13, b"\0\0\0\0"), Some(CloseReason::FrameMalformed));
    assert_eq!(
        first(14, b"\0\0\0\x04abcd"),
        Some(CloseReason::FrameMalformed)
    );
    assert_eq!(
        first(15, b"\0\x0f\xff\xff"),
        None,
        "the longest frame may come"
    );
    lab.join(A);
    lab.send(A, b"\0\x10\0\0");
    assert_eq!(lab.closed[&A], CloseReason::FrameLength(0x10_0000));
    lab.join(B);
    lab.send(B, b"\0\0\0\x07abcdefg");
    assert_eq!(lab.closed[&B], CloseReason::FrameMalformed);
}

#[test]
fn results_for_lost_connections_are_nobodys() {
    let mut lab = Lab::new();
    let response = lab.join(A);
    lab.ask(A, 1, &create("/a"));
    lab.ask(A, 2, &exists("/a", true));
    lab.clients.handle_closed(A);
    assert_eq!(lab.clients.outstanding(), 0);
    lab.commit_all();
    assert_eq!(lab.unread(A), 0);
    assert!(
        lab.db.tree().get("/a").is_some(),
        "what was submitted takes place"
    );
    assert!(lab.db.sessions().contains_key(&response.session));
}

#[test]
fn stopping_closes_everything_and_forgets() {
    let mut lab = Lab::new();
    lab.join(A);
    lab.ask(A, 1, &exists("/a", true));
    lab.ask(A, 2, &create("/a"));
    lab.ask(A, 3, &Request::Sync { path: "/".into() });
    lab.open(B);
    lab.send(B, &hello(SessionId(0), &[0; 16], 0)[..20]);
    lab.turn(|clients, ctx| clients.stop_serving(ctx.out, CloseReason::RoleLeft));
    assert_eq!(lab.closed[&A], CloseReason::RoleLeft);
    assert_eq!(lab.closed[&B], CloseReason::RoleLeft);
    assert!(!lab.clients.is_serving());
    assert_eq!(
        (lab.clients.outstanding(), lab.clients.watch_count()),
        (0, 0)
    );
    lab.commit_all();
    lab.clients.start_serving(crate::ids::Zxid::ZERO);
    let c = ConnId(3);
    lab.join(c);
    lab.ask(c, 1, &exists("/a", false));
    assert_eq!(lab.xids(c), [(1, 0)]);
}

/// A transaction that did not go through this server's clients.
fn foreign(lab: &mut Lab, session: SessionId, cxid: i32, txn: Txn<'_>, kind: i32) {
    let header = TxnHeader {
        session,
        cxid,
        zxid: lab.next_zxid(),
        time: WallMs(1),
        kind,
    };
    let mut record = Vec::new();
    TxnRecord {
        header,
        txn,
        digest: None,
    }
    .encode(&mut record);
    lab.apply(&record);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However the stream is cut and whenever commits come, the client reads the same.
    #[test]
    fn cuts_and_delays_do_not_matter(
        ops in proptest::collection::vec(0..6u8, 1..30),
        cuts in proptest::collection::vec((1..60usize, any::<bool>()), 1..60),
    ) {
        let mut script = hello(SessionId(0), &[0; 16], 0);
        for (xid, op) in (1..).zip(&ops) {
            script.extend(match op {
                0 => frame(xid, &create("/a")),
                1 => frame(xid, &set_data("/a", b"1")),
                2 => frame(xid, &get_data("/a", false)),
                3 => frame(xid, &Request::Delete { path: "/a".into(), version: -1 }),
                4 => frame(xid, &Request::Sync { path: "/".into() }),
                _ => frame(xid, &Request::Ping),
            });
        }
        let mut whole = Lab::new();
        whole.open(A);
        whole.send(A, &script);
        whole.commit_all();
        let mut cut = Lab::new();
        cut.open(A);
        let (mut rest, mut cuts) = (&script[..], cuts.iter().cycle());
        while !rest.is_empty() {
            let &(size, commits) = cuts.next().unwrap();
            let (chunk, later) = rest.split_at(size.min(rest.len()));
            rest = later;
            cut.send(A, chunk);
            if commits {
                cut.commit();
            }
        }
        cut.commit_all();
        prop_assert_eq!(whole.handshake(A), cut.handshake(A));
        let strip = |frames: Vec<lab::Frame>| {
            frames.into_iter().map(|f| (f.xid, f.error, f.body)).collect::<Vec<_>>()
        };
        let (whole, cut) = (strip(whole.frames(A)), strip(cut.frames(A)));
        prop_assert_eq!(whole.len(), ops.len());
        prop_assert_eq!(whole, cut);
    }

    #[test]
    fn no_bytes_panic(chunks in proptest::collection::vec(
        proptest::collection::vec(prop_oneof![0..4u8, any::<u8>()], 0..60), 1..6,
    )) {
        let mut lab = Lab::new();
        lab.open(A);
        lab.join(B);
        for chunk in &chunks {
            lab.send(A, chunk);
            lab.send(B, chunk);
            lab.commit();
        }
    }
}
