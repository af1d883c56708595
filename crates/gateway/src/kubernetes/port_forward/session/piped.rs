//! What happens at the pipes between the two sides and the engine.

use tokio::io::{AsyncRead, AsyncWrite};
use weir_wire_kube::spdy::{CANCEL, Frame};

use super::{OVERHEAD, Session, Side, take};
use crate::kubernetes::upgraded::Flow;
use crate::pipe::Piped;

impl<C, S, F> Session<'_, C, S, F>
where
    C: AsyncRead + AsyncWrite + Unpin + Send,
    S: AsyncRead + AsyncWrite + Unpin + Send,
    F: Flow + 'static,
{
    /// Something happens at a pipe.
    pub(super) fn piped(&mut self, key: u64, piped: Piped) {
        if self.connections.contains_key(&key) {
            self.of_connection(key, piped);
        } else if self.dials.contains_key(&key) {
            self.of_dial(key, piped);
        }
    }

    pub(super) fn of_connection(&mut self, key: u64, piped: Piped) {
        let Some(connection) = self.connections.get_mut(&key) else {
            return;
        };
        let out = &mut self.client.output;
        match piped {
            Piped::Data(data) => {
                self.ended.bytes_out += data.len() as u64;
                if let Some(stream) = connection.data {
                    self.client_link.data(stream, &data, false, out);
                }
                let [thirsty, _] = &mut self.thirsty;
                thirsty.push(key);
            }
            Piped::Taken(count) => {
                connection.waiting = connection.waiting.saturating_sub(count + OVERHEAD);
                take(&mut self.backlog, Side::Client, count + OVERHEAD);
                if let Some(stream) = connection.data {
                    let owed = &mut connection.owed;
                    let out = &mut self.client_answers;
                    self.client_link.grant(stream, owed, count, out);
                }
            }
            Piped::End => {
                let is_over = connection.done || !self.client_link.ports().is_empty();
                self.end_connection(key);
                if is_over {
                    self.forget(key);
                }
            }
            Piped::Done => {
                connection.done = true;
                if connection.told {
                    self.forget(key);
                }
            }
            Piped::Broken => {
                connection.done = true;
                let waiting = std::mem::take(&mut connection.waiting);
                take(&mut self.backlog, Side::Client, waiting);
                if connection.told {
                    if let Some(stream) = connection.data {
                        let frame = Frame::Rst {
                            stream,
                            status: CANCEL,
                        };
                        self.client_link.frame(&frame, out);
                    }
                    self.forget(key);
                }
            }
        }
    }

    pub(super) fn of_dial(&mut self, key: u64, piped: Piped) {
        let Some(dialled) = self.dials.get_mut(&key) else {
            return;
        };
        let out = &mut self.server.output;
        match piped {
            Piped::Data(data) => {
                if !dialled.told {
                    self.server_link.data(dialled.data, &data, false, out);
                }
                let [_, thirsty] = &mut self.thirsty;
                thirsty.push(key);
            }
            Piped::Taken(count) => {
                dialled.waiting = dialled.waiting.saturating_sub(count + OVERHEAD);
                take(&mut self.backlog, Side::Server, count + OVERHEAD);
                let owed = &mut dialled.owed;
                let out = &mut self.server_answers;
                self.server_link.grant(dialled.data, owed, count, out);
            }
            Piped::End => {
                if !std::mem::replace(&mut dialled.told, true) {
                    self.server_link.data(dialled.data, &[], true, out);
                }
                if dialled.done {
                    self.drop_dial(key);
                }
            }
            Piped::Done => {
                dialled.done = true;
                if dialled.told {
                    self.drop_dial(key);
                }
            }
            Piped::Broken => self.hang_up(key),
        }
    }
}
