//! Which instructions the host has.

/// A set of instructions that a kernel is written for. A value stands for a host that has them, so only this module
/// makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kernel {
    /// 512-bit vectors of floats, bytes and 64-bit integers, and dot products of bytes.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 256-bit vectors, conversions of fp16 numbers, and fused multiply-adds.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Portable code.
    Portable,
}

impl Kernel {
    /// The fastest of the host.
    #[inline]
    pub(crate) fn of_host() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vnni")
            {
                return Self::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c") && is_x86_feature_detected!("fma") {
                return Self::Avx2;
            }
        }
        Self::Portable
    }

    /// Every one that the host can run.
    #[cfg(test)]
    pub(crate) fn all_of_host() -> Vec<Self> {
        match Self::of_host() {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => vec![Self::Avx512, Self::Avx2, Self::Portable],
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => vec![Self::Avx2, Self::Portable],
            Self::Portable => vec![Self::Portable],
        }
    }
}
