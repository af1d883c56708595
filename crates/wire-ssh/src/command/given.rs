//! Words of a command, as programs read them: options with letters that may be joined, their values, operands.

/// What a program was given.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// Letters of options in their order, each with its value where it takes one.
    pub(super) options: Vec<(char, Option<String>)>,
    /// Long options with what stands behind the `=`.
    pub(super) long: Vec<(String, Option<String>)>,
    /// The rest.
    pub(super) operands: Vec<String>,
}

impl Given {
    /// Reads words. Letters in `values` take the rest of their word, or the next one. Options end behind `--`,
    /// and behind `operands` operands.
    pub(super) fn read(args: &[String], values: &str, operands: usize) -> Self {
        let mut given = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            if arg == "--" || given.operands.len() >= operands {
                given.operands.extend((arg != "--").then(|| arg.clone()));
                given.operands.extend(args.cloned());
                break;
            }
            if let Some(long) = arg.strip_prefix("--") {
                let (name, value) = long.split_once('=').unwrap_or((long, ""));
                let value = long.contains('=').then(|| value.to_owned());
                given.long.push((name.to_owned(), value));
                continue;
            }
            let Some(letters) = arg.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
                given.operands.push(arg.clone());
                continue;
            };
            for (at, letter) in letters.char_indices() {
                if !values.contains(letter) {
                    given.options.push((letter, None));
                    continue;
                }
                let rest = letters.get(at + letter.len_utf8()..).unwrap_or_default();
                let value = match rest.is_empty() {
                    true => args.next().cloned(),
                    false => Some(rest.to_owned()),
                };
                given.options.push((letter, value));
                break;
            }
        }
        given
    }

    /// Whether an option was given.
    pub(super) fn has(&self, letter: char) -> bool {
        self.options.iter().any(|(one, _)| *one == letter)
    }

    /// Whether a long option was given, which may be cut short.
    pub(super) fn has_long(&self, name: &str) -> bool {
        self.long.iter().any(|(one, _)| is_cut(one, name))
    }

    /// The values of an option.
    pub(super) fn values(&self, letter: char) -> Vec<String> {
        let found = self.options.iter().filter(|(one, _)| *one == letter);
        found.filter_map(|(_, value)| value.clone()).collect()
    }
}

/// Whether a long option is this one, perhaps cut short.
pub(super) fn is_cut(given: &str, name: &str) -> bool {
    given == name || given.len() > 1 && name.starts_with(given)
}

/// The values of a long option, which stand behind `=` or are the next word.
pub(super) fn long_values(args: &[String], names: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (at, arg) in args.iter().enumerate() {
        let (name, value) = match arg.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (&**arg, None),
        };
        let dashed = name.strip_prefix("--");
        let is = |one: &&str| match dashed {
            Some(given) => one.strip_prefix("--").is_some_and(|one| is_cut(given, one)),
            None => *one == name,
        };
        if names.iter().any(is) {
            found.extend(value.or_else(|| args.get(at + 1).cloned()));
        }
    }
    found
}
