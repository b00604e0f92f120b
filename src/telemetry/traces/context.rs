//! Which trace and which span something belongs to, as `traceparent` has it (W3C Trace Context, section 3.2).

/// The bytes of a `traceparent`: `00-` + trace id + `-` + parent id + `-` + flags.
const TRACEPARENT_BYTES: usize = 55;

/// The flag that says that the caller may have recorded its part (W3C Trace Context, section 3.2.2.5.1).
const SAMPLED: u8 = 1;

/// What all spans of one trace have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(pub u128);

/// One span of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanId(pub u64);

impl TraceId {
    /// The part that is random whoever made it: 63 bits.
    pub(super) const fn random_part(self) -> u64 {
        (self.0 as u64) >> 1
    }
}

/// Where a request stands in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace: TraceId,
    /// The span it was sent from.
    pub span: SpanId,
    /// All flags, whatever they mean.
    flags: u8,
}

impl TraceContext {
    /// Reads a `traceparent` that is well formed. Of later versions what they have in common with version 00.
    #[must_use]
    pub fn read(field: &[u8]) -> Option<Self> {
        let field = str::from_utf8(field.get(..TRACEPARENT_BYTES)?).ok()?;
        let (trace, span, flags) = (field.get(3..35)?, field.get(36..52)?, field.get(53..55)?);
        Some(Self {
            trace: TraceId(u128::from_str_radix(trace, 16).ok()?),
            span: SpanId(u64::from_str_radix(span, 16).ok()?),
            flags: u8::from_str_radix(flags, 16).ok()?,
        })
    }

    /// Whether whoever sent it says that it is recorded.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The same trace as it is told to the next: from this span, and recorded.
    #[must_use]
    pub fn sampled_from(&self, span: SpanId) -> String {
        format!("00-{:032x}-{:016x}-{:02x}", self.trace.0, span.0, self.flags | SAMPLED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_read_and_told_on() {
        let context = TraceContext::read(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-02").unwrap();
        assert_eq!(context.trace, TraceId(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736));
        assert_eq!(context.span, SpanId(0x00f0_67aa_0ba9_02b7));
        assert!(!context.is_sampled());
        let told = context.sampled_from(SpanId(0x0abc));
        assert_eq!(told, "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000abc-03", "other flags stay");
        assert!(TraceContext::read(told.as_bytes()).is_some_and(|told| told.is_sampled()));
        let later = b"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-02-what-the-future-will-be-like";
        assert_eq!(TraceContext::read(later), Some(context));
        assert_eq!(TraceContext::read(b"00-4bf92f3577b34da6a3ce929d0e0e4736"), None);
    }
}
