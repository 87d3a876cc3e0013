package mpegts

// Role is what a stream of sound is for, where it is not the programme's own.
type Role string

// Roles. The names are kept with recordings, and never change.
const (
	RoleCleanEffects    Role = "clean-effects"         // ISO 639 audio_type 1
	RoleHearing         Role = "hearing-impaired"      // speech that is easier to understand
	RoleDescription     Role = "visually-impaired"     // what is seen is told, with the sound of the programme
	RoleDescriptionMix  Role = "visually-impaired-mix" // that alone, for receivers that mix it with the programme's
	RoleSpokenSubtitles Role = "spoken-subtitles"
	RoleMusic           Role = "music-and-effects"
	RoleDialogue        Role = "dialogue"
	RoleCommentary      Role = "commentary"
	RoleEmergency       Role = "emergency"
	RoleVoiceOver       Role = "voice-over"
)

const extensionSupplementary = 0x06

// role reads what descriptors say of the role of a stream of sound. Where they differ, DVB's supplementary audio descriptor,
// which says most, goes before the audio_type of ISO 639, and that before the service type of AC-3.
func role(descriptors []byte) Role {
	var supplementary, language, service Role
	for b := descriptors; len(b) >= 2 && 2+int(b[1]) <= len(b); b = b[2+int(b[1]):] {
		switch body := b[2 : 2+int(b[1])]; b[0] {
		case tagLanguage:
			if len(body) >= 4 && language == "" {
				language = typedRole(body[3])
			}
		case tagExtension:
			if len(body) >= 2 && body[0] == extensionSupplementary {
				supplementary = supplementaryRole(body[1])
			}
		case tagAC3, tagEAC3: // ETSI EN 300 468, D.3 and D.5: component_type_flag, component_type
			if len(body) >= 2 && body[0]&0x80 != 0 {
				service = serviceRole(body[1]>>3&7, body[1]&0x40 != 0)
			}
		case tagATSCAC3: // ATSC A/52, A4.3: bsmod, full_svc
			if len(body) >= 3 {
				service = serviceRole(body[2]>>5, body[2]&1 != 0)
			}
		case tagATSCEAC3: // ATSC A/52, G3.5: full_service_flag, audio_service_type
			if len(body) >= 2 {
				service = serviceRole(body[1]>>3&7, body[1]&0x40 != 0)
			}
		}
	}
	switch {
	case supplementary != "":
		return supplementary
	case language == RoleDescription && service == RoleDescriptionMix:
		return service // it says the same, and more
	case language != "":
		return language
	}
	return service
}

// typedRole is that of an audio_type (H.222.0, table 2-60).
func typedRole(t uint8) Role {
	switch t {
	case 1:
		return RoleCleanEffects
	case 2:
		return RoleHearing
	case 3:
		return RoleDescription
	}
	return ""
}

// supplementaryRole is that of mix_type and editorial_classification (ETSI EN 300 468, 6.4.11).
func supplementaryRole(b uint8) Role {
	switch b >> 2 & 0x1F {
	case 1:
		if b&0x80 == 0 {
			return RoleDescriptionMix
		}
		return RoleDescription
	case 2:
		return RoleHearing
	case 3:
		return RoleSpokenSubtitles
	}
	return ""
}

// supplementaryLanguage is that of DVB's supplementary audio descriptor, or "": ISO 639's, where there is one, goes before it.
func supplementaryLanguage(descriptors []byte) string {
	for b := descriptors; len(b) >= 2 && 2+int(b[1]) <= len(b); b = b[2+int(b[1]):] {
		if body := b[2 : 2+int(b[1])]; b[0] == tagExtension && len(body) >= 2 && body[0] == extensionSupplementary && body[1]&1 != 0 {
			return language(body[2:])
		}
	}
	return ""
}

// serviceRole is that of a service type of AC-3 (ATSC A/52, table 5.7). full: it is heard alone.
func serviceRole(t uint8, full bool) Role {
	switch t {
	case 1:
		return RoleMusic
	case 2:
		if !full {
			return RoleDescriptionMix
		}
		return RoleDescription
	case 3:
		return RoleHearing
	case 4:
		return RoleDialogue
	case 5:
		return RoleCommentary
	case 6:
		return RoleEmergency
	case 7:
		if full {
			return "" // karaoke
		}
		return RoleVoiceOver
	}
	return ""
}
