//! `Quarantine` to [`weir_policy::Quarantine`].

use weir_policy::{Lifting, Quarantine};

use super::{Report, cluster_subjects, names, unique};
use crate::load::Resources;

/// One that is wrong somewhere still cuts off whomever it can be read to name; a lifting that is wrong
/// lifts nothing.
pub(super) fn compile(resources: &Resources, report: &mut Report) -> Vec<Quarantine> {
    unique(report, "Quarantine", names(&resources.quarantines));
    let compile = resources.quarantines.iter().map(|resource| {
        let (spec, origin) = (&resource.spec, &resource.origin);
        if spec.reason.trim().is_empty() {
            report.error(origin, "spec.reason", "does not say why");
        }
        let lifted = spec.lifted.as_ref().filter(|lifted| {
            let said = !lifted.reason.trim().is_empty();
            if !said {
                report.error(origin, "spec.lifted.reason", "does not say why");
            }
            said
        });
        let lifted = lifted.map(|lifted| Lifting {
            by: lifted.by.clone(),
            reason: lifted.reason.clone(),
        });
        Quarantine {
            name: resource.metadata.name.clone(),
            reason: spec.reason.clone(),
            by: spec.by.clone(),
            lifted,
            subjects: cluster_subjects(&spec.subjects, origin, report),
        }
    });
    compile.collect()
}
