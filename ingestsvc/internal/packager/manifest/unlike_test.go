package manifest

// Reasons that several have.
const (
	soundBefore = "sound from before the first picture is of no segment"
	beforeRAP   = "ffmpeg shows pictures from before the first random access point or program map"
	beforeMap   = "ffmpeg takes what came before the program map"
	notRecorded = "of a kind that is not recorded"
)

var unlikes = []unlike{
	{"data/bad-cuvid.ts", 0xff, "lacks 1 before, 0 behind", soundBefore},
	{"hls-text-no-discontinuity/0.ts", 0x101, "lacks 1 before, 0 behind", soundBefore},
	{"hls-ts-muxed-aac-h264-with-overflow-nalus/fileSequence0.ts", 0x102, "lacks 3 before, 0 behind", soundBefore},
	{"hls-ts-muxed-aac-h264-with-overflow-samples/fileSequence0.ts", 0x102, "lacks 3 before, 0 behind", soundBefore},
	{"hls-ts-muxed-aac-h265/0.ts", 0x101, "lacks 3 before, 0 behind", soundBefore},
	{"hls-ts-muxed-aac-h265/1.ts", 0x101, "lacks 3 before, 0 behind", soundBefore},
	{"hls-ts-muxed-mp3-h264/seg-1-v1-a1.ts", 0x101, "lacks 3 before, 0 behind", soundBefore},
	{"hls-ts-muxed-mp3-h264/seg-2-v1-a1.ts", 0x101, "lacks 2 before, 0 behind", soundBefore},
	{"hls-ts-muxed-mp3-h264/seg-3-v1-a1.ts", 0x101, "lacks 3 before, 0 behind", soundBefore},
	{"hls-ts-muxed-mp3-h264/seg-4-v1-a1.ts", 0x101, "lacks 3 before, 0 behind", soundBefore},
	{"hls-ts-muxed-mp3-h264/seg-5-v1-a1.ts", 0x101, "lacks 2 before, 0 behind", soundBefore},
	{"hls-ts-muxed-mp3-h264/seg-6-v1-a1.ts", 0x101, "lacks 3 before, 0 behind", soundBefore},
	{"hls-ts-muxed-mp3-h264/seg-7-v1-a1.ts", 0x101, "lacks 3 before, 0 behind", soundBefore},
	{"hls-ts-muxed-mp3-h264/seg-8-v1-a1.ts", 0x101, "lacks 2 before, 0 behind", soundBefore},
	{"input/test-026.ts", 0x78, "11, 4 of the source's 28", "fields with open GOPs from a broadcast: leading pictures lack those before, and ffmpeg makes something of them"},
	{"input/test-026.ts", 0x82, "none of 33", soundBefore},
	{"input/test-026.ts", 0x83, "none of 32", soundBefore},
	{"input/test-026.ts", 0x84, "none of 32", soundBefore},
	{"input/test-108.ts", 0x1f4, "lacks 0 before, 48 behind", "black pictures, all alike but for what ffmpeg makes of those without references; it begins at the 49th"},
	{"input/test-108.ts", 0x200, "lacks 12 before, 0 behind", beforeRAP},
	{"input/test-108.ts", 0x201, "lacks 12 before, 0 behind", beforeRAP},
	{"input/test-108.ts", 0x202, "lacks 24 before, 0 behind", beforeRAP},
	{"input/test-108.ts", 0x28a, "lacks 44 before, 0 behind", soundBefore},
	{"input/test-108.ts", 0x28b, "lacks 39 before, 0 behind", soundBefore},
	{"input/test-108.ts", 0x28c, "none of 54", soundBefore},
	{"input/test-108.ts", 0x28d, "lacks 16 before, 0 behind", beforeMap},
	{"input/test-108.ts", 0x28e, "lacks 12 before, 0 behind", beforeMap},
	{"input/test-108.ts", 0x28f, "lacks 8 before, 0 behind", beforeMap},
	{"input/test-108.ts", 0x2b2, "lacks 29 before, 0 behind", soundBefore},
	{"input/test-108.ts", 0x2b6, "lacks 42 before, 0 behind", soundBefore},
	{"input/test-108.ts", 0x2b7, "lacks 39 before, 0 behind", soundBefore},
	{"input/test-108.ts", 0x2b8, "lacks 35 before, 0 behind", soundBefore},
	{"input/test-108.ts", 0x2b9, "none of 55", soundBefore},
	{"input/test-108.ts", 0x2bb, "lacks 38 before, 0 behind", soundBefore},
	{"segments/audio.ts", 0x100, "none of 2", "two frames are no chain"},
	{"segments/muxed.ts", 0x101, "none of 6", soundBefore},
	{"segments/sintel-captions.ts", 0x102, "lacks 3 before, 0 behind", soundBefore},
	{"segments/test-middle-pat-pmt.ts", 0x100, "none of 15", "all of it comes before the program map"},
	{"segments/test-middle-pat-pmt.ts", 0x101, "none of 28", "all of it comes before the program map"},
	{"testdata/avc_with_time.ts", 0x200, "lacks 9 before, 0 behind", beforeRAP},
	{"testdata/bbb_1s.ts", 0x101, "lacks 3 before, 0 behind", soundBefore},
	{"testdata/obs_hevc_aac.ts", 0x101, "lacks 1 before, 0 behind", soundBefore},
	{"ts/bbb_2500ms.ts", 0x101, "lacks 1 before, 0 behind", soundBefore},
	{"ts/sample_ac3.ts", 0x76c, "lacks 1 before, 0 behind", "ffmpeg makes a packet of the rest of a frame at the beginning"},
	{"ts/sample_dts.ts", 0x101, "none of 44", notRecorded},
	{"ts/sample_h263.ts", 0x100, "none of 25", notRecorded},
	{"ts/sample_h264_dts_audio.ts", 0x101, "none of 9", notRecorded},
	{"ts/sample_mpegh_lcbl_configchange_multi.ts", 0x20, "none of 26", "MPEG-H, which is not recorded; ffmpeg takes it for MP3"},
	{"ts/sample_mpegh_lcbl_configchange_single.ts", 0x20, "none of 26", "MPEG-H, which is not recorded; ffmpeg takes it for MP3"},
	{"ts/sample_scte35.ts", 0x101, "lacks 1 before, 0 behind", soundBefore},
}
