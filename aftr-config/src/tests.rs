//! The language as a whole: minimal text, the reference, and that nothing is forgotten in either.

use super::*;
