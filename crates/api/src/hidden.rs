//! What people would not see in a text. The one list of it.

/// Whether people would not see a character, or would see others elsewhere because of it: control
/// characters, those that turn text around, and those that take no room.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    let hidden = matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'
            | '\u{1160}'
            | '\u{17b4}'
            | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}'
    );
    hidden || c.is_control()
}

#[cfg(test)]
mod tests {
    use super::is_hidden;

    #[test]
    fn what_takes_no_room_or_turns_text_around_is_hidden_and_what_people_write_is_not() {
        for c in "\u{0}\u{1b}\u{7f}\u{9b}\u{ad}\u{34f}\u{200b}\u{200d}\u{202e}\u{2028}\u{2066}\u{3164}\u{fe0f}\u{feff}\u{e0041}".chars() {
            assert!(is_hidden(c), "U+{:04X}", u32::from(c));
        }
        for c in "aZ0 '\"\u{a0}é–…漢字😀ｱ".chars() {
            assert!(!is_hidden(c), "U+{:04X}", u32::from(c));
        }
    }
}
