package testkit

import (
	"hash/fnv"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// SeedVariable names the variable of the environment that chooses the seed of every test of properties: a number, or
// "random" for another one each time. Without it a test has a seed of its own, always the same: what has been seen to
// pass does not fail by chance, and `make property` looks for what has not been seen.
const SeedVariable = "TWINREEL_SEED"

// Rand returns the test's source of chance and logs its seed.
func Rand(t testing.TB) *rand.Rand {
	t.Helper()
	var seed uint64
	switch v := os.Getenv(SeedVariable); v {
	case "":
		h := fnv.New64a()
		_, _ = h.Write([]byte(t.Name())) // a hash takes everything
		seed = h.Sum64()
	case "random":
		seed = rand.Uint64()
	default:
		var err error
		if seed, err = strconv.ParseUint(v, 10, 64); err != nil {
			t.Fatalf("%s is neither a number nor \"random\": %v", SeedVariable, err)
		}
	}
	t.Logf("%s=%d", SeedVariable, seed)
	return RandOf(seed)
}

// RandOf returns the source of chance of a seed that a test once failed with.
func RandOf(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }
