//! A model's file with other parameters: what fine-tuning leaves behind.

use std::collections::HashMap;
use std::io::Write;

use super::export::{FILE_TYPE, file_type};
use super::{Model, TensorSpec, Type, Value, WriteError, Writer};

impl Model {
    /// Writes the file with the parameters given, laid out as by [`Model::layout`], in f32. Keys and the order of tensors
    /// are those of the file; rows of positions that this model does not use stay as they are.
    ///
    /// # Errors
    /// [`WriteError::Io`] of the output.
    ///
    /// # Panics
    /// If `params` has another length than the layout.
    pub fn rewrite<W: Write>(&self, out: W, params: &[f32]) -> Result<W, WriteError> {
        assert_eq!(params.len(), self.layout().len(), "a buffer of the layout's length");
        let mut sources = HashMap::new();
        for (place, slot) in self.layout().slots().iter().enumerate() {
            let mut at = slot.span.offset;
            for source in self.sources(place) {
                let len = source.rows * source.columns;
                sources.insert(source.name.clone(), (source, &params[at..at + len]));
                at += len;
            }
        }
        let mut metadata = self.file().header().metadata().clone();
        metadata.insert(FILE_TYPE, Value::U32(file_type(Type::F32)));
        let tensors = self.file().tensors().map(|tensor| TensorSpec {
            name: tensor.name().to_owned(),
            shape: tensor.shape().to_vec(),
            element_type: Type::F32,
        });
        let mut writer = Writer::new(out, &metadata, tensors.collect())?;
        for tensor in self.file().tensors() {
            let mut values = vec![0.0; tensor.rows() * tensor.columns()];
            tensor.dequantize(&mut values).expect("a tensor that was checked when the file was opened");
            if let Some((source, rows)) = sources.get(tensor.name()) {
                source.lay(rows, &mut values);
            }
            writer.put(&values)?;
        }
        writer.finish()
    }
}
