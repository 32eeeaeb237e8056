//! Whole programs against a real OpenBao.
