use proptest::prelude::*;

use super::*;

/// RFC 6962 §2.1, written down as it is there.
fn mth(leaves: &[Vec<u8>]) -> Digest {
    match leaves {
        [] => Digest::of(b""),
        [leaf] => Digest::leaf(leaf),
        _ => {
            let k = leaves.len().next_power_of_two() / 2;
            Digest::node(mth(&leaves[..k]), mth(&leaves[k..]))
        }
    }
}

fn leaves(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|n| n.to_le_bytes()[..n % 5].to_vec()).collect()
}

fn edge(leaves: &[Vec<u8>]) -> Edge {
    let mut edge = Edge::default();
    leaves.iter().for_each(|leaf| edge.push(Digest::leaf(leaf)));
    edge
}

#[test]
fn roots_are_those_of_the_rfc() {
    // The vectors of certificate-transparency-go, which RFC 6962's authors keep.
    let inputs: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];
    let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut edge = Edge::default();
    for (size, (input, expected)) in (1..).zip(inputs.iter().zip(roots)) {
        edge.push(Digest::leaf(input));
        assert_eq!(root(&edge, size).unwrap().to_string(), expected, "{size}");
    }
}

#[test]
fn every_proof_of_small_trees_verifies_and_no_other_does() {
    let all = leaves(40);
    let edge = edge(&all);
    for size in 1..=40_u64 {
        let top = root(&edge, size).unwrap();
        assert_eq!(top, mth(&all[..usize::try_from(size).unwrap()]));
        for (index, leaf) in (0..size).zip(&all) {
            let proof = inclusion(&edge, index, size).unwrap();
            let leaf = Digest::leaf(leaf);
            verify_inclusion(leaf, index, (size, top), &proof).unwrap();
            for other in (0..size + 2).filter(|other| *other != index) {
                assert!(verify_inclusion(leaf, other, (size, top), &proof).is_err());
            }
            let mut longer = proof.clone();
            longer.push(leaf);
            assert!(verify_inclusion(leaf, index, (size, top), &longer).is_err());
            let shorter = proof.split_last().map_or(&[][..], |(_, rest)| rest);
            assert!(
                proof.is_empty() || verify_inclusion(leaf, index, (size, top), shorter).is_err()
            );
        }
        for old in 0..=size {
            let before = root(&edge, old).unwrap();
            let proof = consistency(&edge, old, size).unwrap();
            verify_consistency((old, before), (size, top), &proof).unwrap();
            let wrong = Digest::of(b"another tree");
            assert!(verify_consistency((old, wrong), (size, top), &proof).is_err());
            if old > 0 {
                assert!(verify_consistency((old, before), (size, wrong), &proof).is_err());
            }
            for at in 0..proof.len() {
                let mut bent = proof.clone();
                bent[at] = wrong;
                assert!(verify_consistency((old, before), (size, top), &bent).is_err());
            }
        }
    }
}

#[test]
fn an_edge_that_forgot_its_past_still_proves_its_latest_leaves() {
    let all = leaves(3000);
    let mut kept = edge(&all);
    let whole = kept.clone();
    kept.drop_all_but(64);
    for index in 2990..3000 {
        assert_eq!(inclusion(&kept, index, 3000), inclusion(&whole, index, 3000));
    }
    assert!(inclusion(&kept, 0, 3000).is_err());
}

proptest! {
    #[test]
    fn taking_leaves_away_leaves_no_trace(size in 1_usize..600, less in 0_usize..200, more in 0_usize..200) {
        let all = leaves(900);
        let kept = size.saturating_sub(less);
        let mut bent = edge(&all[..size]);
        bent.truncate(kept as u64);
        all[kept..kept + more].iter().for_each(|leaf| bent.push(Digest::leaf(leaf)));
        let straight = mth(&all[..kept + more]);
        prop_assert_eq!(root(&bent, (kept + more) as u64).unwrap(), straight);
    }

    #[test]
    fn no_random_proof_proves_anything(
        index in any::<u64>(),
        size in any::<u64>(),
        old in any::<u64>(),
        proof in proptest::collection::vec(any::<[u8; 32]>(), 0..70),
    ) {
        let proof: Vec<_> = proof.into_iter().map(Digest::new).collect();
        let (leaf, top) = (Digest::of(b"leaf"), Digest::of(b"root"));
        prop_assert!(verify_inclusion(leaf, index, (size, top), &proof).is_err());
        let unlike = old != size && old != 0;
        prop_assert!(!unlike || verify_consistency((old, leaf), (size, top), &proof).is_err());
    }
}
