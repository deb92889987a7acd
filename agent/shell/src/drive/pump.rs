//! The one way in which what the cores want is done.

use std::net::SocketAddr;

use agent_core::control::{self, Adopted, ConnectionId, Control, FileName, Payload, Tag, WriteId};
use agent_core::mesh::Mesh;
use agent_core::mesh::effect::{self, CloseReason, LinkId};
use protocol::frame::Class;
use protocol::id::NodeId;
use protocol::time::Boot;

use crate::controllers::Call;

/// What the relation with the controllers needs of the world.
pub(super) trait ControlHost {
    fn adopt(&mut self, adopted: Adopted);
    fn ask(&mut self, connection: ConnectionId, tag: Tag, body: Payload, deadline: Boot);
    fn call(&mut self, call: Call);
    fn close(&mut self, connection: ConnectionId);
    fn fresh(&mut self, poll_sent_at: Boot, newer: bool);
    fn persist(&mut self, write: WriteId, files: Vec<(FileName, Payload)>);
    fn tell(&mut self, event: control::Event);
    fn tried_in_vain(&mut self, since: Boot);
}

/// What the relation with the neighbours needs of the world.
pub(super) trait MeshHost {
    fn close(&mut self, link: LinkId, why: CloseReason);
    fn dial(&mut self, peer: NodeId, candidates: Vec<SocketAddr>);
    fn send(&mut self, link: LinkId, class: Class, frame: Vec<u8>);
    fn tell(&mut self, event: effect::Event);
}

/// Does everything that the relation with the controllers wants.
pub(super) fn pump_control(control: &mut Control, host: &mut impl ControlHost) {
    use control::Effect;
    while let Some(effect) = control.poll_effect() {
        match effect {
            Effect::Adopt(adopted) => host.adopt(adopted),
            Effect::Close { connection } => host.close(connection),
            Effect::Connect {
                connection,
                endpoint,
                door,
                server_name,
                trust,
                client_identity,
            } => host.call(Call {
                id: connection,
                endpoint,
                door,
                server_name,
                trust,
                client_identity,
            }),
            Effect::Event(event) => host.tell(event),
            Effect::Fresh { poll_sent_at, newer } => host.fresh(poll_sent_at, newer),
            Effect::Persist { write, files } => host.persist(write, files),
            Effect::Request {
                connection,
                tag,
                body,
                deadline,
            } => host.ask(connection, tag, body, deadline),
            Effect::TriedInVain { since } => host.tried_in_vain(since),
        }
    }
}

/// Does everything that the relation with the neighbours wants.
pub(super) fn pump_mesh(mesh: &mut Mesh, host: &mut impl MeshHost) {
    use effect::Effect;
    while let Some(effect) = mesh.poll_effect() {
        match effect {
            Effect::CloseLink { link, why } => host.close(link, why),
            Effect::Dial { peer, candidates } => host.dial(peer, candidates),
            Effect::Event(event) => host.tell(event),
            Effect::Send { link, class, frame } => host.send(link, class, frame),
        }
    }
}
