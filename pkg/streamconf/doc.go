// Package streamconf is the stream config language: what an operator writes in stream.conf.
//
//	# secrets and streams
//	cluster_key "correct horse";
//	stream example_stream {
//	  input udp://239.0.0.1:1234;
//	  input m4f://replica:7000/example_stream priority=2 source_timeout=3s standby=hot;
//	  dvr /storage 3d replicate;
//	}
//	replication_speed 200M 22:00-06:00:0; # of all peers; dvr … replicate replication_speed=20M; of a stream
//	peer replica:7000 { replication_speed 50M; }
//	source main { dvr /storage 7d replicate; except test; } # every stream of a peer
//	dvr box { root /big; disk_limit 5T 90%; } # dvr @box 30d 500G;
//
// A file is a list of statements. A statement is words that end with ";" or a block in braces; "#" at the start of a
// word begins a comment; "a word in quotes" may hold spaces, with \" and \\ inside.
//
// It owns the syntax, the defaults and the meaning of every word, the canonical form ([Config.Canonical]), and what
// differs between two configs ([Diff]). It reads no file, resolves no name and opens no socket.
//
// Invariants:
//   - I1: every problem of a source is reported at once, each with line and column, and a source with any problem
//     yields no config.
//   - I2: Parse(c.Canonical()) equals c for every c that Parse returned.
//     What sources have ([Source.Found]) is no word of a file: ParseCopy reads it back.
//   - I3: no secret (cluster key, passphrase of srt) appears in a problem, in [Config.String] or in a log record.
//
// The parser is written by hand: a grammar library stops at the first syntax error and speaks of expected tokens,
// while I1 wants all problems of a file, in the words of its author.
//
// Everything here is a value or a pure function; all of it is safe for concurrent use.
package streamconf
