//! The words and operators of a shell command, by the rules of POSIX and what bash adds to them.
//!
//! Nothing is expanded here. A text that the shell would not accept is an error, and so is one that is
//! nested deeper than [`MAX_DEPTH`].

mod inside;

/// How deep substitutions, and commands inside of commands, may be nested.
pub(super) const MAX_DEPTH: usize = 24;

/// Why a text has no words.
pub(super) type Broken = &'static str;

/// A list of commands.
#[derive(Clone, Debug, Default)]
pub(super) struct Script {
    pub(super) tokens: Vec<Token>,
}

#[derive(Clone, Debug)]
pub(super) enum Token {
    Word(Word),
    Redirect(Redirect),
    /// `;`, `&` and the end of a line.
    End,
    /// `&&` and `||`.
    Then,
    Pipe,
    Open,
    Close,
    /// `;;`, `;&` and `;;&`.
    CaseEnd,
    /// Behind `((`: what may be a sum, as it stands. What follows is read as commands.
    Sum(String),
}

#[derive(Clone, Debug)]
pub(super) struct Redirect {
    pub(super) kind: RedirectKind,
    /// The file, the text, or the body of a here-document.
    pub(super) target: Word,
    /// Whether it is about standard input.
    pub(super) stdin: bool,
}

impl Redirect {
    /// Whether the file may be written. `1<>file` is read too.
    pub(super) fn writes(&self) -> bool {
        self.kind == RedirectKind::Write || self.kind == RedirectKind::Read && !self.stdin
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RedirectKind {
    Read,
    Write,
    Text,
    Duplicate,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Word {
    pub(super) parts: Vec<Part>,
    /// Something in it is quoted: it is one word even when empty.
    pub(super) quoted: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Part {
    /// Text as it stands.
    Text(String),
    /// An unquoted `*`, `?` or `[…]`.
    Glob,
    /// An unquoted `[…]` behind a name, as it stands: a pattern, or a place in an array.
    Set(String),
    /// The place in an array that `name[…]=` assigns.
    Index(Vec<Part>),
    /// One of what `{a..b}` counts.
    Range,
    /// `{`, `,` and `}` outside of quotes: perhaps alternatives.
    BraceOpen,
    BraceComma,
    BraceClose,
    /// A parameter, and the place in it where it is an array.
    Parameter {
        name: String,
        index: Vec<Part>,
        operation: Operation,
        quoted: bool,
    },
    /// `$(…)` and backticks.
    Command {
        script: Script,
        quoted: bool,
    },
    /// A number that is computed.
    Arithmetic(Vec<Part>),
    /// What may be a sum, as it stands, where what follows is read as commands.
    Sum(String),
    /// `<(…)` and `>(…)`.
    Process(Script),
    /// A name that begins with `~`, and the unquoted slash that ends it.
    Tilde,
}

#[derive(Clone, Debug)]
pub(super) enum Operation {
    /// `$x`
    Value,
    /// `${x:-word}`, `${x:=word}` (assigns), `${x:?word}`
    Default { word: Word, assigns: bool },
    /// `${x:+word}`
    Alternative(Word),
    /// `${#x}`
    Length,
    /// `${!x}`: what another variable names, and what is done with it.
    Indirect(Word),
    /// Anything else: parts of the value, or of another variable's.
    Other(Word),
}

pub(super) fn read(text: &str, depth: usize) -> Result<Script, Broken> {
    let mut lexer = Lexer {
        text: text.chars().collect(),
        at: 0,
        depth,
        tests: false,
        extended: text.contains("extglob"),
        pending: Vec::new(),
    };
    let script = lexer.script(false)?;
    if lexer.at < lexer.text.len() {
        return Err("a parenthesis is closed that was not opened");
    }
    Ok(script)
}

struct Lexer {
    text: Vec<char>,
    at: usize,
    depth: usize,
    /// Inside of `[[`.
    tests: bool,
    /// The text asks for more patterns.
    extended: bool,
    /// Here-documents whose bodies come after this line: index of the token, end, quoted, tabs.
    pending: Vec<(usize, String, bool, bool)>,
}

impl Lexer {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    fn after(&self, n: usize) -> Option<char> {
        self.text.get(self.at + n).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek();
        self.at += usize::from(c.is_some());
        c
    }

    fn eat(&mut self, text: &str) -> bool {
        let fits = text
            .chars()
            .enumerate()
            .all(|(i, c)| self.after(i) == Some(c));
        if fits {
            self.at += text.chars().count();
        }
        fits
    }

    fn deeper<T>(
        &mut self,
        read: impl FnOnce(&mut Lexer) -> Result<T, Broken>,
    ) -> Result<T, Broken> {
        if self.depth >= MAX_DEPTH {
            return Err("it is nested too deeply");
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    /// Commands up to the end, or to the parenthesis that closes a substitution (which is taken).
    fn script(&mut self, inside: bool) -> Result<Script, Broken> {
        let mut script = Script::default();
        let mut open = 0_usize;
        // `case` words that have not met their `esac`: inside, `)` ends a pattern.
        let mut cases = 0_usize;
        let outer = std::mem::take(&mut self.pending);
        loop {
            let Some(c) = self.peek() else {
                if inside || open > 0 {
                    return Err("a parenthesis is not closed");
                }
                break;
            };
            match c {
                ' ' | '\t' => self.at += 1,
                '\\' if self.after(1) == Some('\n') => self.at += 2,
                '\n' => {
                    if inside && !outer.is_empty() {
                        return Err("where the body of a here-document begins is not clear");
                    }
                    self.at += 1;
                    script.tokens.push(Token::End);
                    self.bodies(&mut script)?;
                }
                '#' => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.at += 1;
                    }
                }
                ';' => {
                    let ends = self.eat(";;&") || self.eat(";;") || self.eat(";&");
                    if !ends {
                        self.at += 1;
                    }
                    script
                        .tokens
                        .push(if ends { Token::CaseEnd } else { Token::End });
                }
                '&' if self.after(1) == Some('>') => self.redirect(&mut script)?,
                '&' => {
                    let both = self.eat("&&");
                    if !both {
                        self.at += 1;
                    }
                    script
                        .tokens
                        .push(if both { Token::Then } else { Token::End });
                }
                '|' => {
                    let token = if self.eat("||") {
                        Token::Then
                    } else {
                        Token::Pipe
                    };
                    if matches!(token, Token::Pipe) {
                        self.at += 1;
                        self.eat("&");
                    }
                    script.tokens.push(token);
                }
                '(' if self.after(1) == Some('(') && self.arithmetic_end(self.at + 2).is_some() => {
                    self.at += 2;
                    let parts = self.deeper(Lexer::arithmetic)?;
                    let word = Word {
                        parts: vec![Part::Text("((".to_owned()), Part::Arithmetic(parts)],
                        quoted: true,
                    };
                    script.tokens.push(Token::Word(word));
                }
                '(' => {
                    let sum = self.sum();
                    self.at += 1;
                    open += 1;
                    if open > 256 {
                        return Err("it is nested too deeply");
                    }
                    script.tokens.push(Token::Open);
                    script.tokens.extend(sum.map(Token::Sum));
                }
                ')' if open == 0 && cases == 0 => {
                    if inside {
                        if !self.pending.is_empty() {
                            return Err("where the body of a here-document begins is not clear");
                        }
                        self.at += 1;
                    }
                    break;
                }
                ')' => {
                    self.at += 1;
                    open = open.saturating_sub(1);
                    script.tokens.push(Token::Close);
                }
                '<' | '>' if self.after(1) != Some('(') => self.redirect(&mut script)?,
                _ => {
                    let start = self.at;
                    let word = self.word(&[])?;
                    let leads =
                        matches!(self.peek(), Some('<' | '>')) && self.after(1) != Some('(');
                    let raw = self.text.get(start..self.at).unwrap_or_default();
                    if leads && inside::numbers(raw)? {
                        let zero = self.text.get(start..self.at) == Some(&['0']);
                        self.redirect(&mut script)?;
                        if let Some(Token::Redirect(redirect)) = script.tokens.last_mut() {
                            redirect.stdin &= zero;
                        }
                        continue;
                    }
                    match word.plain() {
                        Some("[[") if at_command(&script) => self.tests = true,
                        Some("]]") => self.tests = false,
                        Some("case") if at_command(&script) => cases += 1,
                        Some("esac") => cases = cases.saturating_sub(1),
                        _ => {}
                    }
                    script.tokens.push(Token::Word(word));
                }
            }
        }
        self.bodies(&mut script)?;
        self.pending = outer;
        Ok(script)
    }

    /// Whether what stands in the parentheses of `*(…)` is alternatives of a pattern to every shell that takes
    /// it: zsh may run it. bash takes it in tests, and where the text asks for it.
    fn is_pattern(&self, inner: &[char]) -> bool {
        let plain = |c: &char| c.is_alphanumeric() || "._-*?|[]!^()/ ".contains(*c);
        self.tests || self.extended && inner.iter().all(plain)
    }

    fn redirect(&mut self, script: &mut Script) -> Result<(), Broken> {
        let mut reads = false;
        let kind = if self.eat("<<<") {
            RedirectKind::Text
        } else if self.eat("<<") {
            let tabs = self.eat("-");
            self.blanks();
            let start = self.at;
            let word = self.word(&[])?;
            let raw = self.text.get(start..self.at).unwrap_or_default();
            let end = match word.parts.as_slice() {
                // Shells read `$'…'` there in different ways.
                _ if raw.windows(2).any(|two| matches!(two, ['$', '\'' | '"'])) => None,
                [] => Some(String::new()),
                [Part::Text(text)] => Some(text.clone()),
                // Nothing is expanded there.
                _ if raw.iter().any(|c| "'\"\\`(".contains(*c)) => None,
                _ => Some(raw.iter().collect()),
            };
            let end = end.ok_or("where a here-document ends is not clear")?;
            self.pending
                .push((script.tokens.len(), end, word.quoted, tabs));
            script.tokens.push(Token::Redirect(Redirect {
                kind: RedirectKind::Text,
                target: Word::default(),
                stdin: true,
            }));
            return Ok(());
        } else if self.eat("<&") {
            reads = true;
            RedirectKind::Duplicate
        } else if self.eat(">&") {
            RedirectKind::Duplicate
        } else if self.eat("<>") || self.eat("<") {
            RedirectKind::Read
        } else {
            let _ = self.eat("&>>")
                || self.eat("&>")
                || self.eat(">>")
                || self.eat(">|")
                || self.eat(">");
            RedirectKind::Write
        };
        self.blanks();
        let target = self.word(&[])?;
        script.tokens.push(Token::Redirect(Redirect {
            kind,
            target,
            stdin: reads || matches!(kind, RedirectKind::Read | RedirectKind::Text),
        }));
        Ok(())
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t')) || self.eat("\\\n") {
            self.at += usize::from(matches!(self.peek(), Some(' ' | '\t')));
        }
    }

    /// The bodies of the here-documents of the line that has ended.
    fn bodies(&mut self, script: &mut Script) -> Result<(), Broken> {
        for (index, end, quoted, tabs) in std::mem::take(&mut self.pending) {
            let mut body = String::new();
            loop {
                if self.peek().is_none() {
                    break;
                }
                let mut line = String::new();
                while let Some(c) = self.next() {
                    if c == '\n' {
                        break;
                    }
                    if c == '\\' && !quoted {
                        // A line that goes on, also where it looks for its end.
                        match self.next() {
                            Some('\n') | None => {}
                            Some(next) => line.extend([c, next]),
                        }
                        continue;
                    }
                    line.push(c);
                }
                let line = if tabs {
                    line.trim_start_matches('\t')
                } else {
                    &line
                };
                if line == end {
                    break;
                }
                body.push_str(line);
                body.push('\n');
            }
            let target = if quoted {
                Word {
                    parts: vec![Part::Text(body)],
                    quoted: true,
                }
            } else {
                self.deeper(|lexer| {
                    let mut inner = Lexer {
                        text: body.chars().collect(),
                        at: 0,
                        depth: lexer.depth,
                        tests: false,
                        extended: lexer.extended,
                        pending: Vec::new(),
                    };
                    let mut word = Word {
                        parts: Vec::new(),
                        quoted: true,
                    };
                    while let Some(c) = inner.peek() {
                        inner.quoted_char(c, &mut word, false)?;
                    }
                    Ok(word)
                })?
            };
            if let Some(Token::Redirect(redirect)) = script.tokens.get_mut(index) {
                redirect.target = target;
            }
        }
        Ok(())
    }

    /// One word. It ends before a blank, an operator, or one of `stop`.
    fn word(&mut self, stop: &[char]) -> Result<Word, Broken> {
        let mut word = Word::default();
        let start = self.at;
        while let Some(c) = self.peek() {
            if stop.contains(&c) {
                break;
            }
            match c {
                ' ' | '\t' | '\n' | ';' | '&' | '|' | ')' if stop.is_empty() => break,
                '<' | '>' if self.after(1) == Some('(') => {
                    self.at += 2;
                    let script = self.deeper(|lexer| lexer.script(true))?;
                    word.parts.push(Part::Process(script));
                }
                '<' | '>' if stop.is_empty() => break,
                '(' if stop.is_empty() => {
                    // `a=(…)`, and patterns such as `@(a|b)`.
                    let before = self
                        .at
                        .checked_sub(1)
                        .and_then(|i| self.text.get(i))
                        .copied();
                    if self.at > start && before == Some('=') {
                        if matches!(word.parts.as_slice(), [Part::Text(text)] if text == "=") {
                            return Err("shells read `=(` in different ways");
                        }
                        self.at += 1;
                        let script = self.deeper(|lexer| lexer.script(true))?;
                        self.array(script, &mut word);
                    } else if self.at > start && matches!(before, Some('?' | '*' | '+' | '@' | '!'))
                    {
                        self.at += 1;
                        let from = self.at;
                        let script = self.deeper(|lexer| lexer.script(true))?;
                        let inner = self.text.get(from..self.at).unwrap_or_default();
                        if !self.is_pattern(inner) {
                            return Err("shells read a pattern in different ways");
                        }
                        word.parts.pop();
                        word.parts.push(Part::Glob);
                        if before == Some('!') {
                            word.parts.push(Part::Process(script));
                        }
                    } else {
                        break;
                    }
                }
                '\\' => {
                    self.at += 1;
                    match self.next() {
                        Some('\n') => {}
                        Some(c) => {
                            word.quoted = true;
                            word.push(c);
                        }
                        None => word.push('\\'),
                    }
                }
                '\'' => {
                    self.at += 1;
                    word.quoted = true;
                    self.single(&mut word)?;
                }
                '"' => {
                    self.at += 1;
                    self.double(&mut word)?;
                }
                '$' if self.after(1) == Some('\'') => {
                    self.at += 2;
                    word.quoted = true;
                    self.ansi(&mut word)?;
                }
                '$' if self.after(1) == Some('"') => {
                    self.at += 2;
                    self.double(&mut word)?;
                }
                '$' => self.dollar(&mut word, false)?,
                '`' => self.backtick(&mut word, false)?,
                '*' | '?' => {
                    self.at += 1;
                    word.parts.push(Part::Glob);
                }
                '[' if stop.is_empty() && self.assigns_place(&word)? => {
                    self.at += 1;
                    let index = self.deeper(Lexer::subscript)?;
                    word.parts.push(Part::Index(index));
                }
                '[' => self.bracket(&mut word, stop),
                '{' => {
                    self.at += 1;
                    word.parts.push(Part::BraceOpen);
                }
                ',' => {
                    self.at += 1;
                    word.parts.push(Part::BraceComma);
                }
                '}' => {
                    self.at += 1;
                    word.parts.push(Part::BraceClose);
                }
                '~' if self.at == start => {
                    while self.peek().is_some_and(|c| {
                        c == '~'
                            || c == '+'
                            || c == '-'
                            || c == '.'
                            || c == '_'
                            || c.is_alphanumeric()
                    }) {
                        self.at += 1;
                    }
                    word.parts.push(Part::Tilde);
                }
                c => {
                    self.at += 1;
                    word.push(c);
                }
            }
        }
        Ok(word)
    }

    /// The elements of an array, kept as fields behind the `=`.
    fn array(&mut self, script: Script, word: &mut Word) {
        word.quoted = true;
        for token in script.tokens {
            if let Token::Word(element) = token {
                word.parts.push(Part::Text(super::word::FIELD.to_string()));
                word.parts.extend(element.parts);
            }
        }
    }
}

/// Whether the next word is where a command begins.
fn at_command(script: &Script) -> bool {
    match script.tokens.last() {
        Some(Token::Word(word)) => matches!(
            word.plain(),
            Some(
                "then"
                    | "do"
                    | "else"
                    | "elif"
                    | "if"
                    | "while"
                    | "until"
                    | "{"
                    | "!"
                    | "time"
                    | "coproc"
            )
        ),
        Some(Token::Redirect(_)) => false,
        _ => true,
    }
}

impl Word {
    pub(super) fn push(&mut self, c: char) {
        match self.parts.last_mut() {
            Some(Part::Text(text)) => text.push(c),
            _ => self.parts.push(Part::Text(c.to_string())),
        }
    }

    /// Its text, if it is nothing but plain characters without quotes.
    pub(super) fn plain(&self) -> Option<&str> {
        match self.parts.as_slice() {
            _ if self.quoted => None,
            [Part::Text(text)] => Some(text),
            [Part::BraceOpen] => Some("{"),
            [Part::BraceClose] => Some("}"),
            _ => None,
        }
    }
}
