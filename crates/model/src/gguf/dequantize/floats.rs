//! Numbers of 16 and 32 bits, one a block.

pub(super) fn f32(bytes: &[u8; 4]) -> [f32; 1] {
    [f32::from_le_bytes(*bytes)]
}

pub(super) fn f16(bytes: &[u8; 2]) -> [f32; 1] {
    [half::f16::from_le_bytes(*bytes).to_f32()]
}

pub(super) fn bf16(bytes: &[u8; 2]) -> [f32; 1] {
    [half::bf16::from_le_bytes(*bytes).to_f32()]
}
