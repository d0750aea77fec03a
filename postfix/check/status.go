package check

import (
	"fmt"
	"time"

	"postmend/filter/config"
	"postmend/postfix"
	"postmend/postfix/layout"
)

// meant lists status lines of Postfix and of postmend, and the class that each has to have behind
// pipe_delivery_status_filter.
var meant = []struct {
	status string
	class  byte
	says   string
}{
	{"5.3.0 Command time limit exceeded", '4', "the time limit bounces mail"},
	{"5.3.0 internal software error", '4', "a crash bounces mail"},
	{"5.3.5 local configuration error", '4', "a configuration error bounces mail"},
	{"5.5.0 protocol error", '4', "a fault of the hand-over bounces mail"},
	{"5.1.1 no such user", '5', "forged SRS addresses are deferred instead of rejected"},
	{"5.6.0 malformed message", '5',
		"messages that the next hop rejects for their format are deferred instead of rejected"},
	{"5.7.1 refused by policy", '5', "mail that policy rejects is deferred instead"},
}

func judgeStatusFilter(h *host) []fault {
	value := h.value(h.filter, "pipe_delivery_status_filter")
	switch {
	case h.softBounce():
		return []fault{{What: "soft_bounce=yes defers all mail that postmend rejects", Severity: Note}}
	case h.statusErr != nil:
		return one("pipe_delivery_status_filter="+value+" cannot be asked: "+h.statusErr.Error(),
			h.mendStatusFilter())
	case value == "":
		return one("pipe_delivery_status_filter is not set for "+h.filter.ID(), h.mendStatusFilter())
	}
	for _, row := range meant {
		if result := h.statuses[row.status]; result[0] != row.class {
			return one(fmt.Sprintf("pipe_delivery_status_filter turns %q into %q: %s", row.status, result,
				row.says), h.mendStatusFilter())
		}
	}
	return nil
}

func (h *host) softBounce() bool { return h.value(h.filter, "soft_bounce") == "yes" }

// statusFilterWorks tells whether the filter can stay as it is.
func (h *host) statusFilterWorks() bool {
	if h.filter == nil || h.statuses == nil || h.statusErr != nil {
		return false
	}
	for _, row := range meant {
		if h.statuses[row.status][0] != row.class {
			return false
		}
	}
	return true
}

// statusFilter is the value for this version: before 3.7 a pattern cannot stand in the table's name.
func (h *host) statusFilter() string {
	if !h.version().AtLeast(3, 7) {
		return "regexp:" + h.statusFile()
	}
	return layout.StatusFilter()
}

func (h *host) statusFile() string { return h.config.Dir + "/" + layout.StatusFile }

func (h *host) mendStatusFilter() string {
	command := h.mendFilter()
	if !h.version().AtLeast(3, 7) {
		command = writeFile(h.statusFile(), layout.StatusPattern) + " && " + command
	}
	return command
}

func judgeTimeLimit(h *host) []fault {
	name := h.filter.Name + "_time_limit"
	value := h.value(h.filter, name)
	limit, ok := duration(value)
	want := max(5*h.Deadline, 300*time.Second)
	mend := h.set(name, fmt.Sprintf("%ds", int(want.Seconds())))
	switch {
	case !ok:
		return one(fmt.Sprintf("%s = %s is not a duration", name, value), mend)
	case limit <= postfix.LongestRun(h.Deadline):
		return one(fmt.Sprintf("%s is %s, but a run may take %s", name, value,
			postfix.LongestRun(h.Deadline)), mend)
	}
	return nil
}

func judgeConfigFile(h *host) []fault {
	named := h.command.configFile()
	if named == "" {
		named = config.DefaultFile
	}
	if named == h.ConfigFile {
		return nil
	}
	return one(fmt.Sprintf("the filter reads %s, but %s was checked", named, h.ConfigFile), h.mendFilter())
}
