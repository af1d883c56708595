//! Parts of the tree by name: `LEVEL/N[.p/WIDTH]` and `entries/N[.p/WIDTH]` (C2SP tlog-tiles).

use std::fmt;
use std::str::FromStr;

/// Hashes of a full tile.
const FULL: u64 = 256;

/// A run of hashes of one level of the tree, or of leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// The level in steps of eight; `None` means the leaves themselves.
    pub level: Option<u32>,
    /// Which tile of the level.
    pub index: u64,
    /// How many hashes or leaves, 1 to 256.
    pub width: u64,
}

/// A path that names no tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the path of a tile")]
pub struct TileError;

impl Tile {
    /// The tiles of a tree of `size` that are not full or past those of a tree of `from` leaves: what has
    /// to be written when a log grows.
    #[must_use]
    pub fn grown(from: u64, size: u64) -> Vec<Self> {
        let mut tiles = Vec::new();
        for level in [None].into_iter().chain((0..8).map(Some)) {
            let shift = 8 * level.unwrap_or_default();
            let (before, hashes) = (from >> shift, size >> shift);
            if hashes == before {
                continue;
            }
            for index in before / FULL..hashes.div_ceil(FULL) {
                tiles.push(Self {
                    level,
                    index,
                    width: FULL.min(hashes - index * FULL),
                });
            }
        }
        tiles
    }
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.level {
            Some(level) => write!(f, "{level}/")?,
            None => f.write_str("entries/")?,
        }
        let mut groups = vec![self.index % 1000];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(rest % 1000);
            rest /= 1000;
        }
        for (place, group) in groups.iter().enumerate().rev() {
            if place > 0 {
                write!(f, "x{group:03}/")?;
            } else {
                write!(f, "{group:03}")?;
            }
        }
        if self.width < FULL {
            write!(f, ".p/{}", self.width)?;
        }
        Ok(())
    }
}

impl FromStr for Tile {
    type Err = TileError;

    fn from_str(path: &str) -> Result<Self, TileError> {
        let read = || {
            let (level, rest) = path.split_once('/')?;
            let level = match level {
                "entries" => None,
                level => Some(level.parse().ok().filter(|level| *level < 8)?),
            };
            let (groups, width) = match rest.split_once(".p/") {
                Some((groups, width)) => (groups, width.parse().ok()?),
                None => (rest, FULL),
            };
            let mut index = 0_u64;
            for group in groups.split('/') {
                let digits = group.strip_prefix('x').unwrap_or(group);
                let number: u64 = digits.parse().ok()?;
                index = index.checked_mul(1000)?.checked_add(number)?;
            }
            let tile = Self {
                level,
                index,
                width,
            };
            // Neither zeros too many nor a width that is none.
            let fits = (1..=FULL).contains(&width) && tile.to_string() == path;
            fits.then_some(tile)
        };
        read().ok_or(TileError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        let tile = Tile {
            level: Some(1),
            index: 1_234_067,
            width: 256,
        };
        assert_eq!(tile.to_string(), "1/x001/x234/067");
        let partial = Tile {
            level: None,
            index: 0,
            width: 17,
        };
        assert_eq!(partial.to_string(), "entries/000.p/17");
        for tile in [tile, partial] {
            assert_eq!(tile.to_string().parse(), Ok(tile));
        }
        for path in [
            "",
            "0",
            "0/",
            "8/000",
            "00/000",
            "0/0",
            "0/0000",
            "0/x000/001",
            "0/001.p/0",
            "0/001.p/256",
            "0/001.p/01",
            "0/001.p/300",
            "entries/-01",
            "0/999/000",
            "0/+01",
            "0/x999/x999/x999/x999/x999/x999/x999/999",
        ] {
            assert_eq!(path.parse::<Tile>(), Err(TileError), "{path}");
        }
    }

    #[test]
    fn a_tree_that_grows_needs_the_tiles_that_changed() {
        let names = |from, size| -> Vec<String> {
            Tile::grown(from, size)
                .iter()
                .map(Tile::to_string)
                .collect()
        };
        assert_eq!(names(0, 1), ["entries/000.p/1", "0/000.p/1"]);
        assert_eq!(names(200, 256), ["entries/000", "0/000", "1/000.p/1"]);
        assert_eq!(names(256, 256), [""; 0]);
        assert_eq!(
            names(300, 600),
            [
                "entries/001",
                "entries/002.p/88",
                "0/001",
                "0/002.p/88",
                "1/000.p/2"
            ]
        );
        // The example of the specification.
        let whole = names(0, 70_000);
        assert_eq!(
            whole.iter().filter(|name| name.starts_with("0/")).count(),
            274
        );
        for name in ["0/273.p/112", "1/000", "1/001.p/17", "2/000.p/1"] {
            assert!(whole.iter().any(|have| have == name), "{name}");
        }
    }
}
