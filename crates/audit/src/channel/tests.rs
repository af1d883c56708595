use super::*;

/// What was kept of each stream, as `MS:BYTES` in the order of the rows.
fn kept(chunks: &[RecordingChunk], stream: Stream) -> Vec<String> {
    let of = chunks.iter().filter(|chunk| chunk.stream == stream);
    let mut kept = Vec::new();
    for chunk in of {
        for moment in chunk.rows.moments().unwrap() {
            let text = String::from_utf8_lossy(moment.bytes);
            kept.push(format!("{}:{text}", moment.at_ms));
        }
    }
    kept
}

#[test]
fn a_commands_streams_are_kept_apart_with_their_times() {
    let mut channel = ChannelRecorder::new(4, 1 << 20, false);
    channel.input(1, b"in");
    channel.output(3, b"out");
    channel.errors(5, b"err");
    channel.output(8, b"more");
    assert_eq!(channel.take_full(), None);
    let chunks = channel.finish();
    assert_eq!(kept(&chunks, Stream::Stdout), ["3:out", "8:more"]);
    assert_eq!(kept(&chunks, Stream::Stderr), ["5:err"]);
    assert_eq!(kept(&chunks, Stream::Stdin), ["1:in"]);
    let places: Vec<_> = chunks.iter().map(|c| (c.statement, c.index)).collect();
    assert_eq!(places, [(4, 0), (4, 1), (4, 2)]);
    assert_eq!(chunks[1].offset_ms, 3);
}

#[test]
fn a_terminal_keeps_what_it_shows_and_not_a_password() {
    let mut channel = ChannelRecorder::new(1, 1 << 20, true);
    channel.resize(0, 80, 24);
    channel.output(1, b"$ ");
    channel.input(5, b"su\r");
    channel.output(6, b"su\r\nPassword: ");
    channel.input(900, b"hunter2\r");
    channel.output(901, b"\r\n# ");
    channel.resize(950, 132, 43);
    let chunks = channel.finish();
    assert_eq!(kept(&chunks, Stream::TerminalInput), ["5:su\r", "900:\r"]);
    assert_eq!(
        kept(&chunks, Stream::TerminalResize),
        ["0:80x24", "950:132x43"]
    );
    assert_eq!(
        kept(&chunks, Stream::TerminalOutput),
        ["1:$ ", "6:su\r\nPassword: ", "901:\r\n# "]
    );
    let size = chunks
        .iter()
        .find(|chunk| chunk.stream == Stream::TerminalResize)
        .map(|chunk| chunk.rows.moments().unwrap()[1].size());
    assert_eq!(size, Some(Some((132, 43))));
}

#[test]
fn more_than_the_budget_is_left_out_and_said_of_each_stream() {
    let mut channel = ChannelRecorder::new(1, 6, false);
    channel.output(1, b"1234");
    channel.output(2, b"5678");
    channel.errors(3, b"x");
    let chunks = channel.finish();
    assert_eq!(kept(&chunks, Stream::Stdout), ["1:1234", "2:56"]);
    assert_eq!(kept(&chunks, Stream::Stderr), [""; 0]);
    assert_eq!(chunks.len(), 2, "{chunks:?}");
    assert!(chunks.iter().all(|chunk| chunk.rows.is_truncated()));
}

#[test]
fn large_output_makes_whole_chunks_as_it_comes() {
    let mut channel = ChannelRecorder::new(1, u64::MAX, false);
    let piece = vec![b'x'; 200_000];
    channel.output(1, &piece);
    let mut bytes = 0;
    let mut chunks = Vec::new();
    chunks.extend(std::iter::from_fn(|| channel.take_full()));
    assert!(!chunks.is_empty());
    chunks.extend(channel.finish());
    for chunk in &chunks {
        assert!(!chunk.rows.is_truncated());
        bytes += chunk
            .rows
            .moments()
            .unwrap()
            .iter()
            .map(|m| m.bytes.len())
            .sum::<usize>();
    }
    assert_eq!(bytes, piece.len());
}
