// Package server adapts IngestService to the inputs. It holds no state.
package server
