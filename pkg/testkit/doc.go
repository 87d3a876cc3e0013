// Package testkit is what whole-system tests are made of: clips made by ffmpeg, a relay that drops chosen datagrams, a
// reader of a site's archive over its API, and the comparison of archives with each other and with the source.
//
// It knows no service, only their protos, and it shares no code with the packager: what judges media here is ffmpeg.
// Every helper takes the test and fails it with a reason.
package testkit
