package queen

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
)

// narration is what the queen says of a job while she does it.
type narration struct {
	Type      string `json:"type"`      // always narration
	Formatted string `json:"formatted"` // for terminals: two lines, the first with colours
	Actor     string `json:"actor"`     // who speaks
	Action    string `json:"action"`    // of what, for programs
	Target    string `json:"target"`    // the same
	Human     string `json:"human"`     // for people
	JobID     string `json:"job_id"`    // the job that is spoken of
}

// narrate makes a narration. What others wrote must not be in the words
// unless plain has seen it.
func narrate(id, actor, action, human string) entry {
	return jsonEntry(narration{
		Type: "narration", Actor: actor, Action: action, Target: action, Human: human, JobID: id,
		Formatted: fmt.Sprintf("\x1b[1m%-40s\x1b[0m \x1b[2m%-20s\x1b[0m\n%s\n", actor, action, human),
	})
}

// structured makes a message for programs.
func structured(action string, payload any) entry {
	return jsonEntry(map[string]any{"type": "data", "action": action, "payload": payload})
}

func jsonEntry(v any) entry {
	b, err := json.Marshal(v)
	if err != nil { // a value of ours that cannot be written
		panic("queen: " + err.Error())
	}
	return entry{data: b}
}

// plain makes a stranger's text fit for one line of a terminal: no control
// characters, spaces for line ends, at most limit bytes.
func plain(s string, limit int) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if len(clean) > limit {
		clean = strings.ToValidUTF8(clean[:limit], "") + "…"
	}
	return clean
}
