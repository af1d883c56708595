//! awk and sed: their options, and what their programs run and write.

use super::given::is_cut;
use super::run::is_unknown;
use super::word::size;
use super::{Input, Shell, code};

/// Letters of awk's that a word follows.
const AWK_VALUES: &str = "FvfEeilW";
/// Letters of sed's that a word follows.
const SED_VALUES: &str = "efl";

/// Options in their order, each with its value, and operands.
struct Read {
    /// By their letter, or their whole long name.
    options: Vec<(String, String)>,
    operands: Vec<String>,
}

/// Reads words as programs do that take options anywhere, or, where `first` is set, before operands only.
/// Long options that take a word have one of these names, perhaps cut short.
fn read(args: &[String], values: &str, optional: &str, long: &[&str], first: bool) -> Read {
    let (mut options, mut operands) = (Vec::new(), Vec::new());
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let letters = arg.strip_prefix('-').filter(|letters| !letters.is_empty());
        let Some(letters) = letters else {
            operands.push(arg.clone());
            if first {
                break;
            }
            continue;
        };
        if letters == "-" {
            break;
        }
        if let Some(name) = letters.strip_prefix('-') {
            let (name, value) = match name.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (name, None),
            };
            let full = long.iter().find(|one| is_cut(name, one));
            let value = match full.is_some() {
                true => value.or_else(|| args.next().cloned()),
                false => value,
            };
            let name = full.map_or(name, |full| full).to_owned();
            options.push((name, value.unwrap_or_default()));
            continue;
        }
        for (at, letter) in letters.char_indices() {
            let rest = letters.get(at + letter.len_utf8()..).unwrap_or_default();
            let takes = values.contains(letter);
            let value = match rest.is_empty() && takes {
                true => args.next().cloned().unwrap_or_default(),
                false => rest.to_owned(),
            };
            options.push((letter.to_string(), value));
            if takes || optional.contains(letter) {
                break;
            }
        }
    }
    operands.extend(args.cloned());
    Read { options, operands }
}

impl Shell<'_> {
    pub(super) fn awk(&mut self, args: &[String], input: &Input) {
        let long = [
            "file",
            "exec",
            "source",
            "include",
            "load",
            "assign",
            "field-separator",
        ];
        let Read { options, operands } = read(args, AWK_VALUES, "DdLop", &long, true);
        let mut programs = Vec::new();
        let mut given = false;
        for (option, value) in options {
            match option.as_str() {
                "f" | "file" | "E" | "exec" => {
                    given = true;
                    programs.extend(self.program_text(&value, input));
                }
                "e" | "source" => {
                    given = true;
                    programs.push(value);
                }
                "i" | "include" => programs.extend(self.program_text(&value, input)),
                "l" | "load" if value.contains('/') || self.found(&value).is_some() => {
                    self.hide("awk loads code from a file");
                }
                "W" if value.starts_with(['e', 's', 'f', 'i', 'l']) => {
                    self.hide("awk takes a program in a way that is not looked through");
                }
                "D" | "debug" => self.reads(input, "awk"),
                _ => {}
            }
        }
        if !given {
            programs.extend(operands.first().cloned());
        }
        self.spend(size(&programs) / 16);
        if programs
            .iter()
            .any(|program| is_unknown(program) || code::awk_spawns(program))
        {
            self.hide("the awk program in it can run others");
        }
        for file in programs
            .iter()
            .flat_map(|program| code::awk_writes(program))
        {
            self.wrote(file, None);
        }
    }

    pub(super) fn sed(&mut self, args: &[String], input: &Input) {
        let long = ["expression", "file", "line-length"];
        let Read {
            options,
            mut operands,
        } = read(args, SED_VALUES, "i", &long, false);
        let mut scripts = Vec::new();
        let (mut file, mut in_place) = (false, false);
        for (option, value) in options {
            match option.as_str() {
                "e" | "expression" => scripts.push(value),
                "f" | "file" => {
                    file = true;
                    scripts.extend(self.program_text(&value, input));
                }
                "i" => in_place = true,
                option => in_place |= option.len() > 1 && is_cut(option, "in-place"),
            }
        }
        if scripts.is_empty() && !file && !operands.is_empty() {
            scripts.push(operands.remove(0));
        }
        self.spend(size(&scripts) / 16);
        for edited in operands.into_iter().filter(|_| in_place) {
            self.edited(&edited);
        }
        if scripts.len() > 1 {
            // What one begins, the next may end.
            scripts.push(scripts.join("\n"));
        }
        for script in scripts {
            match code::sed_runs(&script) {
                Ok((commands, files)) => {
                    commands.iter().for_each(|command| self.code(command));
                    files.into_iter().for_each(|file| self.wrote(file, None));
                }
                Err(()) => self.hide("the sed script in it runs what it reads"),
            }
        }
    }
}
