//! What ksh and zsh read otherwise than the shells of POSIX and bash do. A login shell may be one of them: where
//! a text means more to one, it is opaque.

use super::Shell;
use super::lex::{Operation, Part, Word};
use super::options::WRAPPERS;
use super::word::FIELD;

/// Options of shells that change nothing of what a text means.
const OPTIONS: &[&str] = &[
    "allexport",
    "braceexpand",
    "emacs",
    "errexit",
    "errtrace",
    "functrace",
    "hashall",
    "ignoreeof",
    "interactivecomments",
    "keyword",
    "localoptions",
    "monitor",
    "noclobber",
    "noexec",
    "noglob",
    "nolog",
    "nomatch",
    "nonomatch",
    "notify",
    "nounset",
    "nullglob",
    "onecmd",
    "physical",
    "pipefail",
    "posix",
    "privileged",
    "unset",
    "verbose",
    "vi",
    "warncreateglobal",
    "xtrace",
];
/// Arrays of zsh that hold what names of programs mean.
const MEANINGS: &[&str] = &[
    "aliases",
    "galiases",
    "saliases",
    "functions",
    "commands",
    "dis_aliases",
    "dis_galiases",
    "dis_saliases",
    "dis_functions",
];

/// Whether an option of a shell's changes how it reads.
pub(super) fn changes_grammar(option: &str) -> bool {
    let name: String = option.chars().filter(|c| *c != '_').collect();
    let name = name.to_lowercase();
    let plain = name.strip_prefix("no").unwrap_or(&name);
    let is = |name: &str| OPTIONS.contains(&name);
    !is(&name) && !is(plain)
}

impl Shell<'_> {
    /// Commands that only ksh or zsh have. Whether it was one.
    pub(super) fn kin(&mut self, base: &str, args: &[String]) -> bool {
        let otherwise = "zsh or ksh read what follows in a way of their own";
        match base {
            "emulate" | "zmodload" | "zstyle" | "zpty" | "sched" | "zargs" | "zmv" | "zcompile"
            | "namespace" | "nameref" | "compound" | "enum" => self.hide(otherwise),
            "setopt" | "unsetopt" => {
                if args.iter().any(|arg| changes_grammar(arg)) {
                    self.hide(otherwise);
                }
            }
            "print" => {
                let options = args.iter().take_while(|arg| arg.starts_with('-'));
                if options.into_iter().any(|arg| arg.contains(['P', 's', 'z'])) {
                    self.hide(otherwise);
                }
            }
            _ => return false,
        }
        true
    }

    /// What an assignment says of what programs mean.
    pub(super) fn assigns_meaning(&mut self, name: &str, value: &str) {
        match name {
            "NULLCMD" | "READNULLCMD" => self.code(value),
            name if MEANINGS.contains(&name) => {
                for one in value.split(FIELD) {
                    self.code(one);
                }
            }
            _ => {}
        }
    }

    /// `hash NAME=PROGRAM`.
    pub(super) fn hashes(&mut self, args: &[String]) {
        for (_, value) in args.iter().filter_map(|arg| arg.split_once('=')) {
            let argv = [value.to_owned()];
            self.invoke(&argv, &super::Input::Unknown, 1);
        }
    }

    /// Words of a command as only ksh or zsh read them.
    pub(super) fn reads_otherwise(&mut self, words: &[&Word]) {
        let closes = |word: &&Word| matches!(word.parts.as_slice(), [Part::BraceClose]);
        if words.iter().skip(1).any(closes) {
            self.hide("where a block ends is not clear");
        }
        for word in words.iter().take(8) {
            if picks(word) {
                return self.hide("what a program's name is made of is not clear");
            }
            let plain = word.plain().unwrap_or_default();
            let goes_on = plain.starts_with('-')
                || plain.contains('=')
                || WRAPPERS.iter().any(|one| one.names.contains(&plain));
            if !goes_on {
                break;
            }
        }
    }
}

/// A value of which a part is taken: `$x[2,3]`, `$x:h`, or of a text `${x[2]}`.
fn picks(word: &Word) -> bool {
    let behind = |part: &Part| match part {
        Part::Text(text) => {
            let mut letters = text.chars();
            match letters.next() {
                Some('[') => true,
                Some(':') => letters.next().is_some_and(char::is_alphabetic),
                _ => false,
            }
        }
        Part::Glob | Part::Set(_) => true,
        _ => false,
    };
    let value = |part: &Part| {
        let plain = |operation: &Operation| matches!(operation, Operation::Value);
        matches!(part, Part::Parameter { operation, .. } if plain(operation))
    };
    let placed = |part: &&Part| match part {
        Part::Parameter { index, .. } => {
            !matches!(index.as_slice(), [] | [Part::Glob])
                && !matches!(index.as_slice(), [Part::Text(text)] if text == "@" || text == "*")
        }
        _ => false,
    };
    let several = |part: &Part| match part {
        Part::Parameter { index, .. } => index
            .iter()
            .any(|part| matches!(part, Part::Text(text) if text.contains(','))),
        _ => false,
    };
    let mut pairs = word.parts.windows(2);
    word.parts.iter().filter(placed).count() > 1
        || word.parts.iter().any(several)
        || pairs.any(|pair| matches!(pair, [first, second] if value(first) && behind(second)))
}
