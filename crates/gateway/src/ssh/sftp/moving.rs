//! Files that get a name in another directory: a relative link leads elsewhere from there, so that moving it
//! comes to making the link that it then is.
//!
//! Where a rule would refuse or hold such a link, whatever it says, the server is asked first what the file
//! is. Until it has answered, the client's further requests on the channel wait.

use weir_policy::{SftpOperation, Verdict};
use weir_wire_ssh::ProtocolError;
use weir_wire_ssh::sftp::{Answer, Link, Operation};

use super::asked_for;
use crate::ssh::asked::Asked;
use crate::ssh::relay::{End, Event, Relay};

/// A move that waits for the server's answer.
pub(super) struct Moving {
    id: u32,
    asked: Vec<Asked>,
    to: Vec<u8>,
    packet: Vec<u8>,
    /// What the server has said.
    link: Option<Link>,
}

/// Any path.
const ANY: &[u8] = b"*";

/// The making of a link.
fn links(target: &[u8], link: &[u8]) -> Asked {
    Asked::Sftp(SftpOperation::Symlink, vec![target.to_vec(), link.to_vec()])
}

impl Relay {
    /// Asks the server where the file leads, if that decides anything. False: it need not be waited for.
    pub(super) fn sftp_moves(
        &mut self,
        key: u64,
        id: u32,
        operations: &[Operation],
        paths: &[Vec<u8>],
        packet: &[u8],
        name: &[u8],
    ) -> bool {
        let Some(to) = paths.get(1) else {
            return false;
        };
        let worst = self.judge.decide(&links(ANY, to));
        if matches!(worst.map(|it| it.verdict), Some(Verdict::Permit(_))) {
            return false;
        }
        let channel = self.channels.get_mut(&key);
        let Some((channel, sftp)) = channel.and_then(|channel| {
            let sftp = channel.sftp.as_mut()?;
            Some((&mut channel.up, sftp))
        }) else {
            return false;
        };
        let mut moving = Moving {
            id,
            asked: asked_for(operations, paths),
            to: to.clone(),
            packet: packet.to_vec(),
            link: None,
        };
        match sftp.tracker.ask_link(name) {
            Some(question) => channel.send(None, question),
            None => moving.link = Some(Link::Unknown),
        }
        let told = moving.link.is_some();
        sftp.moving = Some(moving);
        if told {
            drop(self.inbox.put(Event::GoOn(key)));
        }
        self.flush(key);
        true
    }

    /// The answer to that, which is not the client's. False: it is another one.
    pub(super) fn sftp_told_link(
        &mut self,
        key: u64,
        id: u32,
        packet: &[u8],
    ) -> Result<bool, ProtocolError> {
        let channel = self.channels.get_mut(&key);
        let Some(sftp) = channel.and_then(|channel| channel.sftp.as_mut()) else {
            return Ok(false);
        };
        if !sftp.tracker.asks_link(id) {
            return Ok(false);
        }
        if let Answer::Link(link) = sftp.tracker.response(packet)?
            && let Some(moving) = sftp.moving.as_mut()
        {
            moving.link = Some(link);
            drop(self.inbox.put(Event::GoOn(key)));
        }
        Ok(true)
    }

    /// Judges the move that has waited, and goes on.
    pub(in crate::ssh) fn sftp_moved(&mut self, key: u64) -> Result<(), End> {
        let channel = self.channels.get_mut(&key);
        let Some(sftp) = channel.and_then(|channel| channel.sftp.as_mut()) else {
            return Ok(());
        };
        let Some(moving) = sftp.moving.take_if(|moving| moving.link.is_some()) else {
            return Ok(());
        };
        let target = match &moving.link {
            Some(Link::Relative(target)) => sftp.tracker.leads(target, &moving.to).ok(),
            Some(Link::Fixed) => None,
            Some(Link::Unknown) | None => Some(ANY.to_vec()),
        };
        let mut all = moving.asked;
        all.extend(target.map(|target| links(&target, &moving.to)));
        self.sftp_asks(key, moving.id, all, moving.packet)?;
        self.sftp_requests(key)
    }
}
