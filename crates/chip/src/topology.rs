//! Which link goes where in systems that are wired by rule.
//!
//! # Method
//!
//! Ports are numbered so that chips of a group see one another alike, and so that chips which do the same can share a
//! queue set. Within a node, local port `x - 1` of chip `i` goes to chip `i xor x`: the chips of every aligned group of
//! 2, 4 or 8 see the members of their group through the same ports. Nodes are wired by difference: the ports for the
//! node `d` further on and `d` back are two neighbouring ports of the same chip, on the same chips of every node. Racks
//! are wired like nodes, their ports spread over the nodes in turn.
//!
//! Local ports come first in each hemisphere, the east one has the larger half; after them come global ports, the
//! first half of them in the east.
//!
//! The published system connects each pair of nodes directly and says how many links a chip has; which port goes where
//! is not published. The numbering is ours (assumed).

use lpu_isa::ChipId;

use crate::figure::ChipError;
use crate::link::LinkEnd;

/// How far a link goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reach {
    /// Between chips of a node.
    Local,
    /// Between nodes, of one rack where there are racks.
    Global,
    /// Between racks.
    Rack,
}

impl Reach {
    /// All in order.
    pub const ALL: [Reach; 3] = [Reach::Local, Reach::Global, Reach::Rack];

    /// The name of its class of links.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Reach::Local => "local",
            Reach::Global => "global",
            Reach::Rack => "rack",
        }
    }
}

/// A system that is wired by rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Chips of a node, a power of two; each is connected to each.
    pub chips_per_node: u16,
    /// Nodes of a rack; all where there are no racks.
    pub nodes_per_rack: u16,
    /// Number of racks.
    pub racks: u16,
    /// Links of a chip to other nodes of its rack; 0 where a rack is one node.
    pub global_links: u16,
    /// Links of a chip to other racks; 0 where there is one rack.
    pub rack_links: u16,
}

/// Two groups' port: group, pair of ports, which of the pair.
type Port = (u32, u32, u32);

impl Topology {
    /// Number of chips.
    #[must_use]
    pub fn chips(&self) -> u32 {
        u32::from(self.chips_per_node) * u32::from(self.nodes_per_rack) * u32::from(self.racks)
    }

    /// The node of a chip, counted over all racks.
    #[must_use]
    pub fn node(&self, chip: ChipId) -> u16 {
        chip.0 / self.chips_per_node
    }

    /// All links of chips with so many C2C queues, each once.
    ///
    /// # Errors
    /// [`ChipError::Topology`] says what does not fit.
    pub fn links(&self, queues: u32) -> Result<Vec<(LinkEnd, LinkEnd, Reach)>, ChipError> {
        self.check(queues)?;
        let (size, nodes, racks) =
            (u32::from(self.chips_per_node), u32::from(self.nodes_per_rack), u32::from(self.racks));
        let end = |chip: u32, link: u32| LinkEnd { chip: ChipId(chip as u16), link: link as u16 };
        let mut links = Vec::new();
        for first in (0..racks * nodes).map(|node| node * size) {
            let pairs = (0..size).flat_map(|one| (1..size).map(move |x| (one, one ^ x, x)));
            let local = |x: u32| self.local(x - 1, queues);
            links.extend(
                pairs
                    .filter(|(one, other, _)| one < other)
                    .map(|(one, other, x)| (end(first + one, local(x)), end(first + other, local(x)), Reach::Local)),
            );
        }
        let global = u32::from(self.global_links) / 2;
        let port = |first: u32, (node, pair, port): Port, skipped: u32| {
            let (chip, number) = (pair % size, 2 * (pair / size) + port);
            end((first + node) * size + chip, self.global(skipped + number, queues))
        };
        for rack in 0..racks {
            let ends = by_difference(nodes, global * size).into_iter();
            links.extend(
                ends.map(|(one, other)| (port(rack * nodes, one, 0), port(rack * nodes, other, 0), Reach::Global)),
            );
        }
        let spread = |(rack, pair, side): Port| {
            port(rack * nodes, (pair % nodes, pair / nodes, side), u32::from(self.global_links))
        };
        let between = by_difference(racks, u32::from(self.rack_links) / 2 * size * nodes).into_iter();
        links.extend(between.map(|(one, other)| (spread(one), spread(other), Reach::Rack)));
        Ok(links)
    }

    fn check(&self, queues: u32) -> Result<(), ChipError> {
        let wrong = |field: &'static str, value: u32, why: String| Err(ChipError::Topology { field, value, why });
        let size = u32::from(self.chips_per_node);
        if !self.chips_per_node.is_power_of_two() {
            return wrong("chips_per_node", size, "it must be a power of two".into());
        }
        for (field, count, links, groups) in [
            ("global_links", self.nodes_per_rack, self.global_links, size),
            ("rack_links", self.racks, self.rack_links, size * u32::from(self.nodes_per_rack)),
        ] {
            let others = u32::from(count.saturating_sub(1));
            let ports = u32::from(links / 2) * 2 * groups;
            if ports < others {
                let least = (others.div_ceil(groups)).next_multiple_of(2);
                return wrong(field, links.into(), format!("{others} others must be reached, which takes {least}"));
            }
        }
        let (east, west) = self.ports();
        let half = queues.div_ceil(2);
        if east > half || west > queues - half {
            let needed = 2 * east.max(west);
            let why = format!("its chips have {queues} C2C queues, and the links of a chip take {needed}");
            return wrong("chips_per_node", size, why);
        }
        Ok(())
    }

    /// Ports of a chip in the east and in the west.
    fn ports(&self) -> (u32, u32) {
        let local = u32::from(self.chips_per_node) - 1;
        let global = u32::from(self.global_links) + u32::from(self.rack_links);
        (local.div_ceil(2) + global.div_ceil(2), local / 2 + global / 2)
    }

    /// The link that is a chip's local port of this number.
    fn local(&self, port: u32, queues: u32) -> u32 {
        let east = (u32::from(self.chips_per_node) - 1).div_ceil(2);
        if port < east { port } else { queues.div_ceil(2) + port - east }
    }

    /// The link that is a chip's port of this number to other nodes and racks.
    fn global(&self, port: u32, queues: u32) -> u32 {
        let local = u32::from(self.chips_per_node) - 1;
        let east = (u32::from(self.global_links) + u32::from(self.rack_links)).div_ceil(2);
        if port < east { local.div_ceil(2) + port } else { queues.div_ceil(2) + local / 2 + port - east }
    }
}

/// The links between groups that each have so many pairs of ports, as many for every two groups. Group `g` has the
/// first ports of some pairs for group `g + d`, and the second ports of the same pairs for group `g - d`.
fn by_difference(groups: u32, pairs: u32) -> Vec<(Port, Port)> {
    if groups < 2 {
        return Vec::new();
    }
    let each = 2 * pairs / (groups - 1);
    let mut links = Vec::new();
    for (difference, number) in (1..groups.div_ceil(2)).flat_map(|d| (0..each).map(move |number| (d, number))) {
        let pair = (difference - 1) * each + number;
        links.extend((0..groups).map(|group| ((group, pair, 0), ((group + difference) % groups, pair, 1))));
    }
    // Halfway around, either is the other's next.
    if groups.is_multiple_of(2) {
        let first = (groups / 2 - 1) * each;
        for number in 0..each {
            let (pair, port) = (first + number / 2, number % 2);
            links.extend((0..groups / 2).map(|group| ((group, pair, port), (group + groups / 2, pair, port))));
        }
    }
    links
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    const NODE: Topology = Topology { chips_per_node: 8, nodes_per_rack: 1, racks: 1, global_links: 0, rack_links: 0 };

    fn peers(topology: &Topology) -> BTreeMap<LinkEnd, (LinkEnd, Reach)> {
        let mut peers = BTreeMap::new();
        for (one, other, reach) in topology.links(12).unwrap() {
            assert_eq!(peers.insert(one, (other, reach)), None, "{one}");
            assert_eq!(peers.insert(other, (one, reach)), None, "{other}");
        }
        peers
    }

    /// The systems of the published network: pairs of nodes, and of racks, have as many links as its sizes say.
    #[test]
    fn published_sizes_are_wired() {
        for (nodes, racks, global_links, rack_links, of_nodes, of_racks) in [
            (1, 1, 0, 0, 0, 0),
            (2, 1, 4, 0, 32, 0),
            (9, 1, 4, 0, 4, 0),
            (10, 1, 4, 0, 3, 0),
            (33, 1, 4, 0, 1, 0),
            (9, 2, 2, 2, 2, 144),
            (9, 8, 2, 2, 2, 20),
            (9, 145, 2, 2, 2, 1),
        ] {
            let topology = Topology { nodes_per_rack: nodes, racks, global_links, rack_links, ..NODE };
            let (mut pairs, mut counts) = (BTreeMap::new(), BTreeMap::new());
            for (end, (peer, reach)) in peers(&topology) {
                *counts.entry(end.chip).or_insert(0) += 1;
                let (node, other) = (topology.node(end.chip), topology.node(peer.chip));
                let group = match reach {
                    Reach::Local => {
                        assert_eq!(node, other);
                        continue;
                    }
                    Reach::Global => {
                        assert_eq!(node / nodes, other / nodes);
                        (reach, node, other)
                    }
                    Reach::Rack => (reach, node / nodes, other / nodes),
                };
                assert_ne!(group.1, group.2);
                // A port keeps its hemisphere.
                *pairs.entry(group).or_insert(0) += 1;
            }
            let of = |reach| pairs.iter().filter(move |(group, _)| group.0 == reach).map(|(_, count)| *count);
            assert!(of(Reach::Global).all(|count| count == of_nodes), "{nodes} nodes");
            assert!(of(Reach::Rack).all(|count| count == of_racks), "{racks} racks");
            let all = |count: u16| usize::from(count) * usize::from(count - 1);
            assert_eq!(of(Reach::Global).count(), all(nodes) * usize::from(racks));
            assert_eq!(of(Reach::Rack).count(), all(racks));
            assert!(counts.values().all(|&links| links <= 11), "{nodes} nodes of {racks} racks");
        }
    }

    /// The chips of a group see its members through the same ports, and a port's two ends are the same port.
    #[test]
    fn groups_of_a_node_see_their_members_alike() {
        let peers = peers(&NODE);
        for size in [2, 4, 8] {
            for chip in 0..8 {
                let inside = peers
                    .iter()
                    .filter(|(end, (peer, _))| end.chip.0 == chip && end.chip.0 / size == peer.chip.0 / size);
                let ports: BTreeSet<u16> = inside.map(|(end, _)| end.link).collect();
                let expected: BTreeSet<u16> = [0, 1, 2, 3, 6, 7, 8].into_iter().take(usize::from(size) - 1).collect();
                assert_eq!(ports, expected, "chip {chip} in a group of {size}");
            }
        }
        assert!(peers.iter().all(|(end, (peer, _))| end.link == peer.link));
    }

    /// What a chip has to the next node, each chip of the same number in another node has too.
    #[test]
    fn nodes_are_wired_alike() {
        let topology = Topology { nodes_per_rack: 9, racks: 8, global_links: 2, rack_links: 2, ..NODE };
        let peers = peers(&topology);
        let seen = |chip: u16| -> Vec<(u16, u16, u16)> {
            let ends = peers.range(LinkEnd { chip: ChipId(chip), link: 0 }..=LinkEnd { chip: ChipId(chip), link: 99 });
            let global = ends.filter(|(_, (_, reach))| *reach == Reach::Global);
            let node = topology.node(ChipId(chip));
            let from = |peer: LinkEnd| (topology.node(peer.chip) + 9 - node % 9) % 9;
            global.map(|(end, (peer, _))| (end.link, from(*peer), peer.link)).collect()
        };
        for chip in 0..topology.chips() as u16 {
            assert_eq!(seen(chip), seen(chip % 8), "chip {chip}");
        }
    }

    #[test]
    fn what_cannot_be_wired_is_refused_by_name() {
        let message = |topology: Topology, queues: u32| topology.links(queues).unwrap_err().to_string();
        assert!(message(Topology { chips_per_node: 6, ..NODE }, 12).contains("`chips_per_node` is 6"));
        assert!(message(NODE, 6).contains("take 8"));
        let far = message(Topology { nodes_per_rack: 34, global_links: 4, ..NODE }, 12);
        assert!(far.contains("`global_links` is 4") && far.contains("takes 6"), "{far}");
        assert!(message(Topology { racks: 2, ..NODE }, 12).contains("`rack_links` is 0"));
    }
}
