//! Names of tiles: which stretch of a tree a file holds, its path, and which files a growing tree adds.
//!
//! A tile holds up to 256 neighbouring nodes of a level that is a multiple of eight; a bundle holds the
//! entries under such a tile of level 0. Full ones never change. Format: C2SP tlog-tiles.

use std::collections::BTreeSet;
use std::fmt;

use crate::merkle::Node;

/// How many hashes a full tile holds, and how many entries a full bundle: 256.
pub const FULL: u16 = 256;
/// The levels of a tile are the tree's, in steps of eight.
pub(super) const HEIGHT: u8 = 8;
/// The highest level with a tile in a tree of 64-bit size.
const TOP: u8 = 7;
/// The highest level that a path may name.
const MAX_LEVEL: u8 = 63;

/// The name of a tile of hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    level: u8,
    index: u64,
    width: u16,
}

/// The name of a bundle of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bundle {
    index: u64,
    width: u16,
}

impl Tile {
    /// The tile `index` of `level` (0 to 63) with `width` hashes (1 to 256); `None` outside of these.
    #[must_use]
    pub const fn new(level: u8, index: u64, width: u16) -> Option<Self> {
        if level <= MAX_LEVEL && width >= 1 && width <= FULL {
            Some(Self {
                level,
                index,
                width,
            })
        } else {
            None
        }
    }

    /// The tile `index` of `level` as it is in a tree of `size` leaves, if it has one there.
    #[must_use]
    pub fn in_tree(level: u8, index: u64, size: u64) -> Option<Self> {
        let width = width(nodes_at(level, size)?, index)?;
        Self::new(level, index, width)
    }

    /// Its level: it is 8 times this above the leaves.
    #[must_use]
    pub const fn level(self) -> u8 {
        self.level
    }

    /// How many tiles of its level stand before it.
    #[must_use]
    pub const fn index(self) -> u64 {
        self.index
    }

    /// How many hashes it holds: 256, or fewer if it is partial.
    #[must_use]
    pub const fn width(self) -> u16 {
        self.width
    }

    /// The same tile once it is full: it begins with the same bytes, and may be read in its place.
    #[must_use]
    pub const fn full(self) -> Self {
        Self {
            width: FULL,
            ..self
        }
    }

    /// The tile that holds what `node` follows from, in a tree of `size` leaves; `None` if the node is
    /// not in that tree.
    #[must_use]
    pub fn of_node(node: Node, size: u64) -> Option<Self> {
        if node.index() >= size >> node.level() {
            return None;
        }
        let (level, height) = (node.level() / HEIGHT, node.level() % HEIGHT);
        Self::in_tree(level, node.index() >> (HEIGHT - height), size)
    }

    /// The tile in which the root of this one stands, when this one is full.
    pub(super) fn above(self, size: u64) -> Option<Self> {
        Self::in_tree(self.level + 1, self.index >> HEIGHT, size)
    }

    /// Reads `tile/<level>/<index>[.p/<width>]`; `None` if it is not spelt exactly so.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let (level, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let level = decimal(level).and_then(|level| u8::try_from(level).ok())?;
        let (index, width) = parse_index(rest)?;
        Self::new(level, index, width)
    }
}

impl fmt::Display for Tile {
    /// Its path below the log's prefix.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tile/{}/", self.level)?;
        write_index(f, self.index, self.width)
    }
}

impl Bundle {
    /// The bundle `index` with `width` entries (1 to 256); `None` outside of these.
    #[must_use]
    pub const fn new(index: u64, width: u16) -> Option<Self> {
        if width >= 1 && width <= FULL {
            Some(Self { index, width })
        } else {
            None
        }
    }

    /// The bundle `index` as it is in a log of `size` entries, if it has one.
    #[must_use]
    pub fn in_tree(index: u64, size: u64) -> Option<Self> {
        Self::new(index, width(size, index)?)
    }

    /// How many bundles stand before it.
    #[must_use]
    pub const fn index(self) -> u64 {
        self.index
    }

    /// How many entries it holds: 256, or fewer if it is partial.
    #[must_use]
    pub const fn width(self) -> u16 {
        self.width
    }

    /// The index of its first entry; `None` if it is beyond 64 bits.
    #[must_use]
    pub fn start(self) -> Option<u64> {
        self.index.checked_mul(u64::from(FULL))
    }

    /// The same bundle once it is full: it begins with the same bytes.
    #[must_use]
    pub const fn full(self) -> Self {
        Self {
            width: FULL,
            ..self
        }
    }

    /// Reads `tile/entries/<index>[.p/<width>]`; `None` if it is not spelt exactly so.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let (index, width) = parse_index(path.strip_prefix("tile/entries/")?)?;
        Self::new(index, width)
    }
}

impl fmt::Display for Bundle {
    /// Its path below the log's prefix.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tile/entries/")?;
        write_index(f, self.index, self.width)
    }
}

/// The tiles that a tree of `to` leaves has, and that of `from` leaves has not: level by level, partial
/// ones last. Nothing if it did not grow.
pub fn tiles_added(from: u64, to: u64) -> impl Iterator<Item = Tile> {
    (0..=TOP).flat_map(move |level| {
        let nodes = |size| nodes_at(level, size).unwrap_or(0);
        added(nodes(from), nodes(to))
            .filter_map(move |(index, width)| Tile::new(level, index, width))
    })
}

/// The tiles that a [`TileReader`](super::TileReader) of a tree of `size` leaves asks for in order to read
/// `nodes`, so that they can be fetched side by side first; `None` if a node is not in the tree. At most
/// eight for each node, and eight more.
#[must_use]
pub fn tiles_needed(nodes: &[Node], size: u64) -> Option<BTreeSet<Tile>> {
    let edge = (0..=TOP).filter_map(|level| {
        let last = nodes_at(level, size)? >> HEIGHT;
        Tile::in_tree(level, last, size)
    });
    let mut needed: BTreeSet<Tile> = edge.collect();
    for node in nodes {
        let mut at = Tile::of_node(*node, size)?;
        while needed.insert(at) {
            at = at.above(size)?;
        }
    }
    Some(needed)
}

/// The bundles that a log of `to` entries has, and that of `from` entries has not: a partial one last.
pub fn bundles_added(from: u64, to: u64) -> impl Iterator<Item = Bundle> {
    added(from, to).filter_map(|(index, width)| Bundle::new(index, width))
}

/// Index and width of each tile over `to` nodes of a level that is not there over `from`.
fn added(from: u64, to: u64) -> impl Iterator<Item = (u64, u16)> {
    let to = to.max(from);
    let full = (from >> HEIGHT..to >> HEIGHT).map(|index| (index, FULL));
    let last = to >> HEIGHT;
    let partial = (to > from).then(|| width(to, last)).flatten();
    full.chain(partial.map(|width| (last, width)))
}

/// How many nodes the tiles of `level` hold of a tree of `size` leaves; `None` above all trees.
fn nodes_at(level: u8, size: u64) -> Option<u64> {
    size.checked_shr(u32::from(level) * u32::from(HEIGHT))
}

/// How many of `nodes` are in tile `index`; `None` if none are.
fn width(nodes: u64, index: u64) -> Option<u16> {
    let before = index.checked_mul(u64::from(FULL))?;
    let width = nodes.checked_sub(before)?.min(u64::from(FULL));
    u16::try_from(width).ok().filter(|width| *width > 0)
}

/// `x001/x234/067`, and `.p/<width>` if it is partial.
fn write_index(f: &mut fmt::Formatter<'_>, index: u64, width: u16) -> fmt::Result {
    // 64 bits are at most seven groups of three digits.
    for place in (1..7).rev() {
        let above = index / 1000_u64.pow(place);
        if above > 0 {
            write!(f, "x{:03}/", above % 1000)?;
        }
    }
    write!(f, "{:03}", index % 1000)?;
    if width < FULL {
        write!(f, ".p/{width}")?;
    }
    Ok(())
}

fn parse_index(path: &str) -> Option<(u64, u16)> {
    let (path, width) = match path.split_once(".p/") {
        None => (path, FULL),
        Some((path, width)) => {
            let width = decimal(width).filter(|width| (1..u64::from(FULL)).contains(width))?;
            (path, u16::try_from(width).ok()?)
        }
    };
    let (above, last) = match path.rsplit_once('/') {
        None => (None, path),
        Some((above, last)) => (Some(above), last),
    };
    let mut index = 0_u64;
    for element in above.into_iter().flat_map(|above| above.split('/')) {
        let group = group(element.strip_prefix('x')?)?;
        // A leading group of zeros would be a second spelling.
        if index == 0 && group == 0 {
            return None;
        }
        index = index.checked_mul(1000)?.checked_add(group)?;
    }
    let index = index.checked_mul(1000)?.checked_add(group(last)?)?;
    Some((index, width))
}

/// Three digits.
fn group(digits: &str) -> Option<u64> {
    let bytes = digits.as_bytes();
    let good = bytes.len() == 3 && bytes.iter().all(u8::is_ascii_digit);
    good.then(|| digits.parse().ok())?
}

/// A decimal number as it is written everywhere in these formats: no sign, no leading zero.
pub(super) fn decimal(digits: &str) -> Option<u64> {
    let leading = digits.len() > 1 && digits.starts_with('0');
    let good = digits.bytes().all(|byte| byte.is_ascii_digit());
    if leading || !good {
        return None;
    }
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    /// Every tile of a tree, by the words of the specification.
    fn tiles(size: u64) -> BTreeSet<Tile> {
        let mut tiles = BTreeSet::new();
        for level in 0..=TOP {
            let nodes = size >> (8 * level);
            tiles.extend((0..nodes / 256).map(|index| Tile::new(level, index, 256).unwrap()));
            let rest = u16::try_from(nodes % 256).unwrap();
            tiles.extend(Tile::new(level, nodes / 256, rest));
        }
        tiles
    }

    #[test]
    fn paths_are_those_of_the_specification() {
        for (level, index, width, path) in [
            (0, 0, 256, "tile/0/000"),
            (0, 5, 112, "tile/0/005.p/112"),
            (3, 999, 256, "tile/3/999"),
            (0, 1000, 256, "tile/0/x001/000"),
            (0, 1_234_067, 256, "tile/0/x001/x234/067"),
            (63, 1_234_067, 1, "tile/63/x001/x234/067.p/1"),
            (0, u64::MAX, 256, "tile/0/x018/x446/x744/x073/x709/x551/615"),
        ] {
            let tile = Tile::new(level, index, width).unwrap();
            assert_eq!(tile.to_string(), path);
            assert_eq!(Tile::parse(path), Some(tile));
        }
        let bundle = Bundle::new(273, 112).unwrap();
        assert_eq!(bundle.to_string(), "tile/entries/273.p/112");
        assert_eq!(Bundle::parse("tile/entries/273.p/112"), Some(bundle));
        assert_eq!(bundle.start(), Some(69_888));
    }

    #[test]
    fn other_spellings_are_refused() {
        for bad in [
            "",
            "tile/0",
            "tile/0/",
            "/tile/0/000",
            "tile/0/0",
            "tile/0/0000",
            "tile/0/x000",
            "tile/0/x000/001",
            "tile/0/001/000",
            "tile/0/x001/x000",
            "tile/0/x001//000",
            "tile/0/x01/000",
            "tile/0/X001/000",
            "tile/0/+01",
            "tile/0/000/",
            "tile/0/000.p",
            "tile/0/000.p/",
            "tile/0/000.p/0",
            "tile/0/000.p/01",
            "tile/0/000.p/+1",
            "tile/0/000.p/256",
            "tile/0/000.p/1/",
            "tile/0/000.p/1.p/1",
            "tile/00/000",
            "tile/+0/000",
            "tile/64/000",
            "tile/-1/000",
            "tile/0/\u{0661}\u{0661}\u{0661}",
            "tile/0/x018/x446/x744/x073/x709/x551/616",
            "tile/0/x001/x018/x446/x744/x073/x709/x551/615",
            "tile/entries/000",
        ] {
            assert_eq!(Tile::parse(bad), None, "{bad}");
        }
        for bad in [
            "tile/entries/0",
            "tile/entries",
            "tile/0/000",
            "entries/000",
        ] {
            assert_eq!(Bundle::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_specification_s_example_tree_has_its_tiles() {
        let added: Vec<Tile> = tiles_added(0, 70_000).collect();
        let count = |level, partial| {
            let like = |tile: &&Tile| tile.level == level && (tile.width < FULL) == partial;
            added.iter().filter(like).count()
        };
        assert_eq!((count(0, false), count(0, true)), (273, 1));
        assert_eq!((count(1, false), count(1, true)), (1, 1));
        assert_eq!((count(2, false), count(2, true)), (0, 1));
        assert!(added.contains(&Tile::new(0, 273, 112).unwrap()));
        assert!(added.contains(&Tile::new(1, 1, 17).unwrap()));
        assert!(added.contains(&Tile::new(2, 0, 1).unwrap()));
        let whole: Vec<String> = tiles_added(0, 256).map(|tile| tile.to_string()).collect();
        assert_eq!(whole, ["tile/0/000", "tile/1/000.p/1"]);
    }

    #[test]
    fn the_largest_tree_has_tiles_on_eight_levels_and_no_more() {
        for level in 0..=TOP {
            assert!(Tile::in_tree(level, 0, u64::MAX).is_some());
        }
        assert_eq!(Tile::in_tree(TOP, 1, u64::MAX), None);
        assert_eq!(Tile::in_tree(TOP + 1, 0, u64::MAX), None);
        assert_eq!(Tile::in_tree(255, u64::MAX, u64::MAX), None);
        assert_eq!(tiles_added(u64::MAX - 1, u64::MAX).count(), 1);
        assert_eq!(tiles_added(u64::MAX, 0).count(), 0);
        assert_eq!(bundles_added(5, 5).count(), 0);
        assert!(tiles_added(0, u64::MAX).next().is_some());
    }

    #[test]
    fn a_node_is_in_the_tile_of_its_level_and_place() {
        let tile = |level, index, size| Tile::of_node(Node::new(level, index).unwrap(), size);
        assert_eq!(tile(0, 257, 300), Tile::new(0, 1, 44));
        assert_eq!(tile(7, 1, 300), Tile::new(0, 0, 256));
        assert_eq!(tile(8, 0, 300), Tile::new(1, 0, 1));
        assert_eq!(tile(8, 1, 300), None);
        assert_eq!(tile(0, 300, 300), None);
        assert_eq!(tile(63, 0, u64::MAX), Tile::new(7, 0, 255));
    }

    proptest! {
        #[test]
        fn a_growing_tree_adds_what_it_lacked(from in 0_u64..140_000, more in 0_u64..70_000) {
            let to = from + more;
            let wanted: BTreeSet<Tile> = tiles(to).difference(&tiles(from)).copied().collect();
            let added: Vec<Tile> = tiles_added(from, to).collect();
            prop_assert_eq!(added.len(), wanted.len());
            prop_assert_eq!(added.into_iter().collect::<BTreeSet<_>>(), wanted);
            let level0: Vec<_> = tiles_added(from, to).filter(|tile| tile.level == 0).collect();
            let bundles = bundles_added(from, to).map(|bundle| (bundle.index, bundle.width));
            prop_assert!(bundles.eq(level0.iter().map(|tile| (tile.index, tile.width))));
        }

        #[test]
        fn a_path_parses_to_its_tile(level in 0_u8..=63, index: u64, width in 1_u16..=256) {
            let tile = Tile::new(level, index, width).unwrap();
            prop_assert_eq!(Tile::parse(&tile.to_string()), Some(tile));
            let bundle = Bundle::new(index, width).unwrap();
            prop_assert_eq!(Bundle::parse(&bundle.to_string()), Some(bundle));
        }

        #[test]
        fn what_parses_as_a_path_is_its_only_spelling(path in "tile/[0-9]{1,2}(/x?[0-9]{3}){1,3}(\\.p/[0-9]{1,3})?") {
            if let Some(tile) = Tile::parse(&path) {
                prop_assert_eq!(tile.to_string(), path);
            }
        }
    }
}
