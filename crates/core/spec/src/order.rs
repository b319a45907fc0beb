//! The order in which things must be made.

use std::collections::{BTreeMap, BTreeSet};

use hornero_model::{ImageName, ServiceName};

use crate::Spec;

/// What to make first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Images, each after the one it is made from; by name where that leaves a choice.
    pub images: Vec<ImageName>,
    /// Services, each after those it depends on; by name where that leaves a choice.
    pub services: Vec<ServiceName>,
}

impl Spec {
    /// The order in which to bake images and start services.
    pub fn order(&self) -> Order {
        let images = self
            .images
            .iter()
            .map(|(name, image)| (name, image.base.image().into_iter().collect()));
        let services = self
            .services
            .iter()
            .map(|(name, service)| (name, service.depends_on.iter().collect::<Vec<_>>()));
        Order { images: sorted(images.collect()), services: sorted(services.collect()) }
    }
}

/// The keys of `edges`, each after the keys it points to.
///
/// Invariant: a parsed spec has no cycle; should one be given all the same, its members come last, by name.
fn sorted<K: Ord + Clone>(edges: BTreeMap<&K, Vec<&K>>) -> Vec<K> {
    let mut waiting = edges;
    let mut placed: BTreeSet<&K> = BTreeSet::new();
    let mut order = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let ready: Vec<&K> = waiting
            .iter()
            .filter(|(_, before)| before.iter().all(|key| placed.contains(key)))
            .map(|(key, _)| *key)
            .collect();
        if ready.is_empty() {
            order.extend(waiting.keys().map(|key| (*key).clone()));
            return order;
        }
        for key in ready {
            waiting.remove(key);
            placed.insert(key);
            order.push(key.clone());
        }
    }
    order
}

/// A cycle among `edges`, as the keys on it in order, beginning with the smallest; none where there is none.
pub(crate) fn cycles<'a, K: Ord>(edges: &BTreeMap<&'a K, Vec<&'a K>>) -> Vec<Vec<&'a K>> {
    let mut found: Vec<Vec<&K>> = Vec::new();
    let mut done: BTreeSet<&K> = BTreeSet::new();
    for start in edges.keys() {
        // An explicit stack: a chain of a thousand images must not use up the thread's.
        let mut path: Vec<(&K, usize)> = vec![(start, 0)];
        while let Some((key, next)) = path.last_mut() {
            let key: &K = key;
            if done.contains(key) {
                path.pop();
                continue;
            }
            let Some(child) = edges.get(key).and_then(|children| children.get(*next)) else {
                done.insert(key);
                path.pop();
                continue;
            };
            *next += 1;
            if let Some(at) = path.iter().position(|(on_path, _)| on_path == child) {
                found.push(path[at..].iter().map(|(on_path, _)| *on_path).collect());
            } else if edges.contains_key(*child) {
                path.push((child, 0));
            }
        }
    }
    for cycle in &mut found {
        let smallest = (0..cycle.len()).min_by_key(|index| cycle[*index]).unwrap_or(0);
        cycle.rotate_left(smallest);
    }
    found.sort();
    found.dedup();
    found
}
