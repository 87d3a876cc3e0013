// Package operator is what the commands of an operator do: it asks a site over gRPC and prints the answer, for a person
// or as JSON.
//
// It owns what is printed and when the answer is bad ([ErrDifference]). It changes nothing on a site.
package operator
