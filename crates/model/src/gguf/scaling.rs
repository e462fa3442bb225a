//! How a GGUF file says that rotary positions were stretched, read and written.
//!
//! What is read is what llama.cpp computes with: positions are scaled linearly where a file does not say how, by a factor
//! that may be missing too; for YaRN the two borders are at whole indices, and the amplitude is 0.1·ln(factor) + 1 times
//! `attn_factor`. A tensor `rope_freqs.weight` has a divisor for each frequency.

use super::settings::short;
use super::{Error, File, KeyError, Metadata, Value, optional};
use crate::rope_scaling::{factors, of_table, yarn_amplitude};
use crate::{Arch, Config, RopeScaling};

/// The tensor of divisors.
pub(super) const TABLE: &str = "rope_freqs.weight";

/// Keys that are read, or that say nothing by themselves.
const KNOWN: [&str; 11] = [
    "scaling.type",
    "scaling.factor",
    "scale_linear",
    "scaling.attn_factor",
    "scaling.original_context_length",
    "scaling.finetuned",
    "scaling.yarn_ext_factor",
    "scaling.yarn_attn_factor",
    "scaling.yarn_log_multiplier",
    "scaling.yarn_beta_fast",
    "scaling.yarn_beta_slow",
];

/// The scaling of a model whose other settings are known.
pub(super) fn read(file: &File, family: &str, config: &Config) -> Result<Option<RopeScaling>, Error> {
    let keys = Keys { file, family };
    let (kind, mut factor) = (keys.text("scaling.type")?, keys.number("scaling.factor")?);
    if factor.is_none() {
        factor = keys.number("scale_linear")?;
    }
    // Files say 0 where there is none.
    let factor = factor.filter(|&factor| factor != 0.0).unwrap_or(1.0);
    let kind = kind.unwrap_or("linear");
    keys.refuse_others()?;
    let given = keys.number("scaling.attn_factor")?.unwrap_or(1.0);
    let table = table(file, family, config)?;
    if table.is_some() && factor != 1.0 && kind != "none" {
        return keys.wrong("scaling.factor", factor, "beside a table of frequencies is not computed here");
    }
    match kind {
        "none" | "linear" if given != 1.0 => {
            keys.wrong("scaling.attn_factor", given, "without yarn is not computed here")
        }
        "none" => Ok(table),
        "linear" => Ok(table.or((factor != 1.0).then_some(RopeScaling::Linear { factor }))),
        "yarn" => keys.yarn(factor, given, config.context).map(Some),
        other => keys.wrong("scaling.type", other, "is not computed here; none, linear and yarn are"),
    }
}

/// The scaling that the tensor of divisors stands for, of a file that has one.
fn table(file: &File, family: &str, config: &Config) -> Result<Option<RopeScaling>, Error> {
    let Some(tensor) = file.tensor(TABLE).filter(|_| family == "llama") else { return Ok(None) };
    let expected = config.head_size() / 2;
    if tensor.shape() != [expected] {
        return Err(Error::Shape {
            path: file.path().to_owned(),
            name: TABLE.to_owned(),
            found: tensor.shape().to_vec(),
            expected: vec![expected],
        });
    }
    let mut divisors = vec![0.0; expected];
    tensor.dequantize(&mut divisors)?;
    Ok(Some(of_table(divisors, config.rope_theta)))
}

/// The keys `FAMILY.rope.…` of a file.
struct Keys<'a> {
    file: &'a File,
    family: &'a str,
}

impl Keys<'_> {
    fn name(&self, field: &str) -> String {
        format!("{}.rope.{field}", self.family)
    }

    fn read<T>(&self, value: Result<T, KeyError>) -> Result<Option<T>, Error> {
        optional(value).map_err(Error::key(self.file.path()))
    }

    fn text(&self, field: &str) -> Result<Option<&str>, Error> {
        self.read(self.file.header().metadata().string(&self.name(field)))
    }

    fn number(&self, field: &str) -> Result<Option<f64>, Error> {
        Ok(self.read(self.file.header().metadata().f32(&self.name(field)))?.map(short))
    }

    fn size(&self, field: &str) -> Result<Option<usize>, Error> {
        let size = self.read(self.file.header().metadata().u32(&self.name(field)))?;
        Ok(size.map(|size| size as usize))
    }

    fn wrong<T>(&self, field: &str, found: impl ToString, rule: &'static str) -> Result<T, Error> {
        let (path, found) = (self.file.path().to_owned(), found.to_string());
        Err(Error::Setting { path, key: self.name(field), found, rule })
    }

    /// Refuses keys of scaling that nobody reads.
    fn refuse_others(&self) -> Result<(), Error> {
        let known = KNOWN.map(|field| self.name(field));
        let prefix = self.name("scal");
        let mut all = self.file.header().metadata().iter().map(|(key, _)| key);
        match all.find(|key| key.starts_with(&prefix) && !known.iter().any(|known| known == key)) {
            Some(key) => Err(Error::Setting {
                path: self.file.path().to_owned(),
                key: key.to_owned(),
                found: "a value".to_owned(),
                rule: "is not computed here",
            }),
            None => Ok(()),
        }
    }

    /// YaRN with this factor and a further factor of the amplitude.
    fn yarn(&self, factor: f64, given: f64, context: usize) -> Result<RopeScaling, Error> {
        for (key, usual) in [("scaling.yarn_ext_factor", 1.0), ("scaling.yarn_log_multiplier", 0.0)] {
            if let Some(value) = self.number(key)?.filter(|&value| value != usual) {
                return self.wrong(key, value, "is not computed here");
            }
        }
        let attention_factor = yarn_amplitude(factor) * given;
        let key = "scaling.yarn_attn_factor";
        // Computed elsewhere, so not to the last digit.
        let differs = |value: &f64| (value / attention_factor - 1.0).abs() > 1e-3;
        if let Some(value) = self.number(key)?.filter(differs) {
            return self.wrong(
                key,
                value,
                "is not what the factor gives, and programs differ in what they make of it",
            );
        }
        Ok(RopeScaling::Yarn {
            factor,
            attention_factor,
            beta_fast: self.number("scaling.yarn_beta_fast")?.unwrap_or(32.0),
            beta_slow: self.number("scaling.yarn_beta_slow")?.unwrap_or(1.0),
            truncate: true,
            original_context: self.size("scaling.original_context_length")?.unwrap_or(context),
        })
    }
}

/// Sets the keys of a scaling, and gives the table if it takes one. Of what files cannot say, `Err` has the name.
pub(super) fn write(
    metadata: &mut Metadata,
    family: &str,
    config: &Config,
) -> Result<Option<Vec<f32>>, &'static str> {
    let mut set = |field: &str, value: Value| drop(metadata.insert(format!("{family}.rope.{field}"), value));
    if config.arch == Arch::Gpt2 {
        return Ok(None);
    }
    let kind = |name: &str| Value::String(name.to_owned());
    match config.rope_scaling.as_ref() {
        None => Ok(None),
        Some(RopeScaling::Linear { factor }) => {
            set("scaling.type", kind("linear"));
            set("scaling.factor", Value::F32(*factor as f32));
            Ok(None)
        }
        Some(RopeScaling::Yarn { truncate: false, .. }) => Err("borders of YaRN between whole indices"),
        Some(&RopeScaling::Yarn {
            factor, attention_factor, beta_fast, beta_slow, original_context, ..
        }) => {
            let original = u32::try_from(original_context).map_err(|_| "so long an original context")?;
            set("scaling.type", kind("yarn"));
            set("scaling.factor", Value::F32(factor as f32));
            set("scaling.original_context_length", Value::U32(original));
            let given = attention_factor / yarn_amplitude(factor);
            if (given - 1.0).abs() > 1e-6 {
                set("scaling.attn_factor", Value::F32(given as f32));
            }
            set("scaling.yarn_beta_fast", Value::F32(beta_fast as f32));
            set("scaling.yarn_beta_slow", Value::F32(beta_slow as f32));
            Ok(None)
        }
        Some(scaling @ (RopeScaling::Llama3 { .. } | RopeScaling::Table { .. })) if family == "llama" => {
            Ok(Some(factors(config.head_size(), config.rope_theta, scaling)))
        }
        Some(_) => Err("a table of frequencies in any family but llama"),
    }
}
