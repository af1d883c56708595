//! A list of what is wrong that says how much of it is not listed.

/// Problems that are listed.
const MAX_PROBLEMS: usize = 100;

/// What is wrong, in words.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    pub(crate) listed: Vec<String>,
    /// How many there are beyond those.
    pub(crate) more: u64,
}

impl Problems {
    pub(crate) fn add(&mut self, problem: impl Into<String>) {
        if self.listed.len() < MAX_PROBLEMS {
            self.listed.push(problem.into());
        } else {
            self.more += 1;
        }
    }
}

impl<T: Into<String>> Extend<T> for Problems {
    fn extend<I: IntoIterator<Item = T>>(&mut self, problems: I) {
        problems.into_iter().for_each(|problem| self.add(problem));
    }
}
