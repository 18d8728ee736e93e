// Primes counts the prime numbers of a range.
//
// stdin: "from to", two decimal numbers, to not included; stdout: how many primes.
package main

import (
	"fmt"

	"github.com/personal-power-plant/p3/exec/guest"
)

func main() {
	line, err := guest.Line()
	if err == nil {
		var n uint64
		if n, err = count(line); err == nil {
			fmt.Println(n)
		}
	}
	guest.Exit(err)
}

// segment is how many numbers are sieved at a time: a byte each, within the cache.
const segment = 1 << 16

func count(line string) (n uint64, err error) {
	var from, to uint64
	if _, err := fmt.Sscan(line, &from, &to); err != nil || from > to || to > 1<<50 {
		return 0, fmt.Errorf("%q: give two numbers, from and to, at most 2^50", line)
	}
	small := primesBelow(root(to) + 1)
	composite := make([]bool, segment)
	for low := max(from, 2); low < to; low += segment {
		high := min(low+segment, to)
		clear(composite)
		for _, p := range small {
			if p*p >= high {
				break
			}
			for m := max(p*p, (low+p-1)/p*p); m < high; m += p {
				composite[m-low] = true
			}
		}
		for _, c := range composite[:high-low] {
			if !c {
				n++
			}
		}
	}
	return n, nil
}

// primesBelow is the sieve of Eratosthenes.
func primesBelow(n uint64) (primes []uint64) {
	composite := make([]bool, n)
	for i := uint64(2); i < n; i++ {
		if composite[i] {
			continue
		}
		primes = append(primes, i)
		for m := i * i; m < n; m += i {
			composite[m] = true
		}
	}
	return primes
}

// root is the least number whose square is at least n.
func root(n uint64) uint64 {
	low, high := uint64(0), uint64(1)<<26
	for low < high {
		if mid := (low + high) / 2; mid*mid >= n {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return low
}
