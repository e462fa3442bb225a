//! Which instruction set kernels run with, detected once and carried as a proof.

use std::fmt;
use std::str::FromStr;

/// An instruction set this machine has: a value can only be made by detection.
///
/// All of them give the same bits in f32; they differ in speed alone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Isa(Kind);

/// The instruction sets kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kind {
    /// The target's baseline; fused multiply-adds in software where the baseline has none.
    Scalar,
    /// 64-bit ARM's Advanced SIMD, which every such processor has.
    Neon,
    /// The same with dot products of bytes (DotProd: Cortex-A75 and later, Apple M1, Graviton 2).
    NeonDot,
    /// x86-64 AVX2, FMA and F16C.
    Avx2,
    /// x86-64 AVX-512 (F, BW, DQ, VL).
    Avx512,
    /// The same with dot products of bf16 (BF16) and of bytes (VNNI).
    Avx512Bf16,
}

/// An instruction set was asked for that this machine does not have, or that does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IsaError {
    /// The processor lacks it.
    Unavailable {
        /// What was asked for.
        wanted: Kind,
        /// The best this machine has.
        best: Kind,
    },
    /// No such name.
    Unknown {
        /// What was asked for.
        name: String,
    },
}

impl Isa {
    /// The best instruction set of this machine.
    pub fn detect() -> Isa {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c");
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            if avx2 && avx512 {
                let dots = is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512vnni");
                return Isa(if dots { Kind::Avx512Bf16 } else { Kind::Avx512 });
            }
            if avx2 {
                return Isa(Kind::Avx2);
            }
        }
        // Kernels read four codes as one number, which big-endian processors would turn round.
        #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
        if std::arch::is_aarch64_feature_detected!("neon") {
            let dots = std::arch::is_aarch64_feature_detected!("dotprod");
            return Isa(if dots { Kind::NeonDot } else { Kind::Neon });
        }
        Isa(Kind::Scalar)
    }

    /// The baseline every machine has.
    pub fn scalar() -> Isa {
        Isa(Kind::Scalar)
    }

    /// The named instruction set.
    ///
    /// # Errors
    /// [`IsaError::Unavailable`] where the processor lacks it.
    pub fn require(wanted: Kind) -> Result<Isa, IsaError> {
        let unavailable = || IsaError::Unavailable { wanted, best: Isa::detect().kind() };
        Isa::available().into_iter().find(|isa| isa.kind() == wanted).ok_or_else(unavailable)
    }

    /// Every instruction set this machine has, the baseline first.
    pub fn available() -> Vec<Isa> {
        let best = Isa::detect().kind();
        let of_target: &[Kind] = if cfg!(target_arch = "aarch64") {
            &[Kind::Neon, Kind::NeonDot]
        } else {
            &[Kind::Avx2, Kind::Avx512, Kind::Avx512Bf16]
        };
        let vectors = of_target.iter().copied().filter(|kind| *kind <= best);
        std::iter::once(Kind::Scalar).chain(vectors).map(Isa).collect()
    }

    /// Which one it is.
    #[inline(always)]
    pub fn kind(self) -> Kind {
        self.0
    }
}

impl FromStr for Isa {
    type Err = IsaError;

    /// Reads `auto`, `scalar`, `avx2`, `avx512`, `avx512-bf16`, `neon` or `neon-dot`.
    fn from_str(name: &str) -> Result<Isa, IsaError> {
        match name {
            "auto" => Ok(Isa::detect()),
            "scalar" => Ok(Isa::scalar()),
            "avx2" => Isa::require(Kind::Avx2),
            "avx512" => Isa::require(Kind::Avx512),
            "avx512-bf16" => Isa::require(Kind::Avx512Bf16),
            "neon" => Isa::require(Kind::Neon),
            "neon-dot" => Isa::require(Kind::NeonDot),
            _ => Err(IsaError::Unknown { name: name.to_owned() }),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Scalar => "scalar",
            Kind::Neon => "neon",
            Kind::NeonDot => "neon-dot",
            Kind::Avx2 => "avx2",
            Kind::Avx512 => "avx512",
            Kind::Avx512Bf16 => "avx512-bf16",
        })
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Isa({})", self.0)
    }
}

impl fmt::Display for IsaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IsaError::Unavailable { wanted, best } => {
                write!(f, "this machine has no {wanted}; the best it has is {best} (use auto to take it)")
            }
            IsaError::Unknown { name } => {
                write!(
                    f,
                    "no instruction set is called {name:?}; use auto, avx512-bf16, avx512, avx2, neon-dot, neon or scalar"
                )
            }
        }
    }
}

impl std::error::Error for IsaError {}

/// Compiles one generic body for every instruction set and picks at run time.
///
/// `dispatch! { fn name<T>(args) = body; }` makes `fn name<T: Real>(isa: Isa, args)`. The body must be
/// `#[inline(always)]`, as must everything it calls in its loops: only code inlined into the
/// feature-enabled function is compiled with the features.
macro_rules! dispatch {
    ($(#[$meta:meta])* $vis:vis fn $name:ident<$t:ident>($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:ident;) => {
        $(#[$meta])*
        $vis fn $name<$t: $crate::Real>(isa: $crate::isa::Isa, $($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi1,bmi2")]
            fn avx512<$t: $crate::Real>($($arg: $ty),*) $(-> $ret)? {
                $body::<$t>($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2<$t: $crate::Real>($($arg: $ty),*) $(-> $ret)? {
                $body::<$t>($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code, reason = "calling a function compiled for detected features")]
            match isa.kind() {
                // SAFETY: an `Isa` of this kind is only made after detecting these features.
                $crate::isa::Kind::Avx512 | $crate::isa::Kind::Avx512Bf16 => return unsafe { avx512::<$t>($($arg),*) },
                // SAFETY: as above.
                $crate::isa::Kind::Avx2 => return unsafe { avx2::<$t>($($arg),*) },
                $crate::isa::Kind::Scalar | $crate::isa::Kind::Neon | $crate::isa::Kind::NeonDot => {}
            }
            #[cfg(not(target_arch = "x86_64"))]
            let _ = isa;
            $body::<$t>($($arg),*)
        }
    };
}
pub(crate) use dispatch;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_wrong_names_say_what_to_use() {
        for isa in Isa::available() {
            assert_eq!(isa.to_string().parse::<Isa>(), Ok(isa));
        }
        assert_eq!("auto".parse::<Isa>(), Ok(Isa::detect()));
        let error = "sse9".parse::<Isa>().unwrap_err();
        assert!(error.to_string().contains("avx512"), "{error}");
    }
}
