//! Channels of a port-forward over WebSocket: two for each port of the request, in its order.

use super::ChannelError;

/// Most ports: a channel's number is a byte, and 255 is reserved.
pub const MAX_PORTS: usize = 127;

/// What a channel of a port-forward is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardChannel {
    /// The connection to the port with this place in the request.
    Data(usize),
    /// Errors of that connection.
    Error(usize),
}

impl ForwardChannel {
    /// What the channel with this number is.
    #[must_use]
    pub fn of(number: u8) -> Self {
        let place = usize::from(number / 2);
        if number.is_multiple_of(2) {
            Self::Data(place)
        } else {
            Self::Error(place)
        }
    }

    /// The number of the channel; none where a request cannot have so many ports.
    #[must_use]
    pub fn number(self) -> Option<u8> {
        let (place, odd) = match self {
            Self::Data(place) => (place, 0),
            Self::Error(place) => (place, 1),
        };
        let place = u8::try_from(place).ok().filter(|place| *place < 127)?;
        Some(place * 2 + odd)
    }
}

/// What each channel begins with: its port, the low byte first.
#[must_use]
pub fn forward_port(port: u16) -> [u8; 2] {
    port.to_le_bytes()
}

/// The ports that the values of the parameter `ports` name, each a list with commas.
///
/// # Errors
/// One of them is no port, there is none, or there are more than [`MAX_PORTS`].
pub fn parse_ports<'a>(values: impl Iterator<Item = &'a str>) -> Result<Vec<u16>, ChannelError> {
    let mut ports = Vec::new();
    for text in values.flat_map(|value| value.split(',')) {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let port = text.parse::<u16>().ok().filter(|port| *port > 0);
        let port = port.filter(|_| is_number);
        ports.push(port.ok_or(ChannelError::Ports("each must be from 1 to 65535"))?);
        if ports.len() > MAX_PORTS {
            return Err(ChannelError::Ports("there are too many"));
        }
    }
    if ports.is_empty() {
        return Err(ChannelError::Ports("there is none"));
    }
    Ok(ports)
}
