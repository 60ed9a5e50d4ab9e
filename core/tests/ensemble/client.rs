//! What clients of a world have heard, and the few things that they say.

use vivarium_core::ids::{ConnId, ServerId, SessionId, Zxid};
use vivarium_core::wire::client::{
    ConnectRequest, ConnectResponse, CreateOp, ReplyHeader, Request, measure_frame,
};
use vivarium_core::wire::jute::Reader;
use vivarium_core::wire::records::Acl;

use crate::world::World;

pub(crate) fn create(path: &str, flags: i32) -> Request<'_> {
    Request::Create {
        kind: CreateOp::Create,
        path: path.into(),
        data: Some(b"x"),
        acl: Some([Acl::world(31)].into()),
        flags,
    }
}

pub(crate) fn exists(path: &str) -> Request<'_> {
    Request::Exists {
        path: path.into(),
        watch: false,
    }
}

/// Whole frames, without their lengths.
fn frames(world: &World, conn: ConnId) -> Vec<&[u8]> {
    let mut rest = world.received(conn);
    let mut found = Vec::new();
    while !rest.is_empty() {
        let length = measure_frame(rest, usize::MAX).expect("servers send frames");
        let (frame, others) = rest.split_at(length);
        found.push(&frame[4..]);
        rest = others;
    }
    found
}

/// The answer to the handshake, if there was one.
pub(crate) fn welcome(world: &World, conn: ConnId) -> Option<ConnectResponse> {
    let first = *frames(world, conn).first()?;
    Some(ConnectResponse::decode(first).expect("the answer to a handshake"))
}

/// Xids and error codes of what was answered since.
pub(crate) fn answers(world: &World, conn: ConnId) -> Vec<(i32, i32)> {
    let read = |frame: &&[u8]| {
        let header = ReplyHeader::read(&mut Reader::new(frame)).expect("a reply");
        (header.xid, header.error)
    };
    frames(world, conn).iter().skip(1).map(read).collect()
}

/// A new session.
pub(crate) fn join(world: &mut World, at: ServerId) -> (ConnId, ConnectResponse) {
    let conn = world.connect(at);
    world.run_ms(100);
    let owner = welcome(world, conn).expect("it is served");
    assert_ne!(owner.timeout_ms, 0);
    (conn, owner)
}

/// A session comes back, here or elsewhere.
pub(crate) fn resume(world: &mut World, at: ServerId, owner: &ConnectResponse) -> ConnId {
    let conn = world.arrive(
        at,
        &ConnectRequest {
            protocol: 0,
            last_zxid_seen: Zxid::ZERO,
            timeout_ms: owner.timeout_ms,
            session: owner.session,
            password: Some(&owner.password),
            read_only: owner.read_only,
        },
    );
    world.run_ms(100);
    conn
}

/// A client that can live with read-only mode.
pub(crate) fn join_read_only(world: &mut World, at: ServerId) -> ConnId {
    world.arrive(
        at,
        &ConnectRequest {
            protocol: 0,
            last_zxid_seen: Zxid::ZERO,
            timeout_ms: 10_000,
            session: SessionId(0),
            password: Some(&[0; 16]),
            read_only: Some(true),
        },
    )
}

/// Which servers have this node.
pub(crate) fn has(world: &World, path: &str) -> Vec<bool> {
    let found = |id: ServerId| world.database(id).tree().get(path).is_some();
    world.running().into_iter().map(found).collect()
}

pub(crate) fn followers(world: &World) -> Vec<ServerId> {
    let leader = crate::leader(world);
    let mut ids = world.running();
    ids.retain(|id| *id != leader);
    ids
}
