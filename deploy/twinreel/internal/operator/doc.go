// Package operator is what the commands of an operator do: it asks a site over gRPC and prints the answer, for a person
// or as JSON.
//
// A site is one address or several: each is asked by reflection what it serves, and a question goes where its service
// is. What needs the cluster key is proven.
//
// It owns what is printed and when the answer is bad ([ErrDifference]); any other error says that a question could not
// be asked. It changes nothing on a site but what a command is for.
package operator
