//! Controllers that make pods again.

use super::{Play, Pod};

impl Play {
    pub(super) fn controller(&mut self, id: usize) {
        let controller = self.c.controllers[id].clone();
        match controller.replaces {
            "at-once" => loop {
                let active = self
                    .c
                    .pods
                    .iter()
                    .filter(|p| {
                        p.controller == Some(id)
                            && !p.gone
                            && !p.terminating
                            && p.phase != "Finished"
                    })
                    .count();
                if active >= controller.replicas || self.owed[id].is_empty() {
                    return;
                }
                let of = self.owed[id].remove(0);
                self.make(of);
            },
            "numbered" | "in-order" => {
                for ordinal in 0..controller.replicas {
                    let of_number =
                        |p: &(usize, &Pod)| p.1.controller == Some(id) && p.1.ordinal == ordinal;
                    let there = self
                        .c
                        .pods
                        .iter()
                        .enumerate()
                        .filter(of_number)
                        .find(|(_, p)| !p.gone);
                    let ready = match there {
                        Some((_, pod)) => pod.phase == "Ready" && !pod.terminating,
                        None => {
                            let last = self.c.pods.iter().enumerate().rfind(of_number);
                            let last = last.map(|(i, _)| i);
                            if let Some(last) = last {
                                self.make(last);
                            }
                            false
                        }
                    };
                    if controller.replaces == "in-order" && !ready {
                        return;
                    }
                }
            }
            _ => {}
        }
    }

    fn make(&mut self, of: usize) {
        let old = self.c.pods[of].clone();
        self.c.pods.push(Pod {
            template: old.template,
            controller: old.controller,
            ordinal: old.ordinal,
            node: None,
            phase: "Pending",
            terminating: false,
            mirror: false,
            gone: false,
            origin: old.origin,
            gone_at: None,
            runs_at: None,
            ready_at: None,
        });
    }
}
