package postconf

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"time"
)

// Requeue has Postfix queue anew what has arrived since a time: such messages keep the content_filter that
// they arrived under, which may be gone. Held mail stays held.
func (c *Config) Requeue(since time.Time) error {
	list := c.command("postqueue", "-j") // Postfix 3.1
	out, err := exec.Command(list[0], list[1:]...).Output()
	if err != nil {
		return failure(list, err, nil)
	}
	var ids []string
	for lines := json.NewDecoder(bytes.NewReader(out)); ; {
		var entry struct {
			Queue   string `json:"queue_name"`
			ID      string `json:"queue_id"`
			Arrival int64  `json:"arrival_time"`
		}
		err := lines.Decode(&entry)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return failure(list, err, nil)
		}
		if entry.Queue != "hold" && entry.Arrival >= since.Unix() {
			ids = append(ids, entry.ID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	requeue := c.command("postsuper", "-r", "-")
	cmd := exec.Command(requeue[0], requeue[1:]...)
	cmd.Stdin = strings.NewReader(strings.Join(ids, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return failure(requeue, err, out)
	}
	return nil
}
