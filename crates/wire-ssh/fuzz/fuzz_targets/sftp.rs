//! Both directions of SFTP, cut anywhere: packets are the same however the stream is cut, the account
//! stays within its bounds, and ranges lie within their packets.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_fuzz::{Input, at_most};
use weir_wire_ssh::sftp::{
    Answer, Framer, MAX_OPEN, MAX_OUTSTANDING, MAX_PACKET, Tracker, What, normalised,
};

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let mut tracker = Tracker::new();
    let (mut client, mut server) = (Framer::new(), Framer::new());
    while !input.is_empty() {
        let towards_server = input.byte() & 1 == 0;
        let chunk = input.short();
        let framer = if towards_server {
            &mut client
        } else {
            &mut server
        };
        at_most(4 * (data.len() + MAX_PACKET), || framer.push(chunk));
        loop {
            let packet = match framer.packet() {
                Ok(Some(packet)) => packet,
                Ok(None) => break,
                Err(_) => return,
            };
            assert!(packet.len() >= 5);
            if towards_server {
                let Ok(asked) = tracker.request(packet) else {
                    return;
                };
                match asked.what {
                    What::Write { data, file, .. } => {
                        assert!(packet.get(data).is_some());
                        assert!(tracker.file(file).is_some());
                    }
                    What::Operation {
                        operations, paths, ..
                    } => {
                        assert!(!operations.is_empty() && paths.len() <= 2);
                        for path in paths {
                            assert_eq!(normalised(&path, None), path, "normalising ends");
                        }
                    }
                    _ => {}
                }
            } else {
                match tracker.response(packet) {
                    Ok(Answer::Data { data, .. }) => assert!(packet.get(data).is_some()),
                    Ok(_) => {}
                    Err(_) => return,
                }
            }
            assert!(tracker.outstanding() <= MAX_OUTSTANDING);
            assert!(tracker.files().count() <= MAX_OPEN);
        }
    }
});
