import Glibc

// Glibc's functions, under names that expressions do not have.
func power(_ x: Double, _ y: Double) -> Double { pow(x, y) }
func exponential(_ x: Double) -> Double { exp(x) }
func logarithm(_ x: Double) -> Double { log(x) }
