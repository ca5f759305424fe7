//! Machine sizes that the practice region sells.

/// A size with the family its vCPU quota is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub name: &'static str,
    pub family: &'static str,
    pub cpus: u32,
    pub memory_mib: u64,
}

/// Source: the figures of the Dsv5, Dasv5, Esv5 and DSv2 series in Azure's documentation of machine sizes.
pub(crate) const SIZES: &[Size] = &[
    Size {
        name: "Standard_D2s_v5",
        family: "standardDSv5Family",
        cpus: 2,
        memory_mib: 8 * 1024,
    },
    Size {
        name: "Standard_D4s_v5",
        family: "standardDSv5Family",
        cpus: 4,
        memory_mib: 16 * 1024,
    },
    Size {
        name: "Standard_D8s_v5",
        family: "standardDSv5Family",
        cpus: 8,
        memory_mib: 32 * 1024,
    },
    Size {
        name: "Standard_D16s_v5",
        family: "standardDSv5Family",
        cpus: 16,
        memory_mib: 64 * 1024,
    },
    Size {
        name: "Standard_D2as_v5",
        family: "standardDASv5Family",
        cpus: 2,
        memory_mib: 8 * 1024,
    },
    Size {
        name: "Standard_D4as_v5",
        family: "standardDASv5Family",
        cpus: 4,
        memory_mib: 16 * 1024,
    },
    Size {
        name: "Standard_E4s_v5",
        family: "standardESv5Family",
        cpus: 4,
        memory_mib: 32 * 1024,
    },
    Size {
        name: "Standard_E8s_v5",
        family: "standardESv5Family",
        cpus: 8,
        memory_mib: 64 * 1024,
    },
    Size {
        name: "Standard_DS2_v2",
        family: "standardDSv2Family",
        cpus: 2,
        memory_mib: 7 * 1024,
    },
    Size {
        name: "Standard_DS3_v2",
        family: "standardDSv2Family",
        cpus: 4,
        memory_mib: 14 * 1024,
    },
];

/// Finds a size; Azure compares its name without regard to case.
pub(crate) fn find(name: &str) -> Option<&'static Size> {
    SIZES
        .iter()
        .find(|size| size.name.eq_ignore_ascii_case(name))
}
