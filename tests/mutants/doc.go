// Command mutants plants bugs, one after the other, in a copy of the tree, and demands that the test which is named for each fails,
// by what it asserts: neither because it does not compile nor because it hangs. Each is a patch here, with why it is a bug above it and
// the line "Test: PACKAGE NAME" (`make mutants`, MUTANTS=NAME for some of them). README.md lists bugs that were planted by hand.
package main
