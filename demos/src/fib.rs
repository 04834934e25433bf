//! The work that every server does: Fibonacci numbers, computed the slow way.
//!
//! The point is the slowness. `fib(n)` calls itself `2 * fib(n) - 1` times in all, and each step of
//! `n` multiplies the time by about 1.618: one argument chooses between a request that costs
//! nothing and one that occupies a processor for seconds.

/// The largest `n` whose Fibonacci number fits in 64 bits.
pub const LARGEST: u64 = 93;

/// The `n`th Fibonacci number, with `fib(1) = fib(2) = 1`.
pub fn fib(n: u64) -> u64 {
    if n <= 2 { 1 } else { fib(n - 1) + fib(n - 2) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_1_1_2_3_5_8() {
        let first: Vec<u64> = (1..=8).map(fib).collect();
        assert_eq!(first, [1, 1, 2, 3, 5, 8, 13, 21]);
    }

    #[test]
    fn the_largest_fits_in_64_bits_and_the_next_does_not() {
        let (mut a, mut b) = (1_u64, 1_u64);
        for _ in 3..=LARGEST {
            (a, b) = (b, a.checked_add(b).unwrap());
        }
        assert_eq!(a.checked_add(b), None);
    }
}
