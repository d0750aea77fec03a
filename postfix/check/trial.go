package check

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// trialRules run the program as Postfix would, if no other rule found a fault, because there may be causes
// that no rule knows.
var trialRules = []rule[*host]{
	{"filter-trial", Error, "postmend's account can run it, with this configuration",
		"all mail is deferred as long as it cannot", judgeTrial},
}

// canTry tells whether a trial can tell more than the findings do.
func (h *host) canTry(findings []Finding) bool {
	isWrong := func(f Finding) bool {
		return f.Severity == Error &&
			(f.Area == areaOwn || f.Area == areaFilter)
	}
	return os.Geteuid() == 0 && h.filter != nil && !h.account.IsMissing && h.SpoolDir != "" &&
		!slices.ContainsFunc(findings, isWrong)
}

func judgeTrial(h *host) []fault {
	var commands [][]string
	if h.HasKeys {
		commands = append(commands, []string{"dkim", "record"})
	}
	if h.SRSDomain != "" {
		commands = append(commands, []string{"srs", "forward", "postmaster@check.invalid"})
	}
	for _, command := range commands {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, h.programPath(), append(command, "-c", h.ConfigFile)...)
		cmd.Dir, cmd.Env, cmd.SysProcAttr = "/", []string{"MAIL_CONFIG=" +
			h.config.Dir}, h.account.Credential()
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Run(); err != nil {
			said, _, _ := strings.Cut(strings.TrimSpace(stderr.String()), "\n")
			return one(fmt.Sprintf("as %s, %s %s fails: %v: %s", h.account.Name, h.programPath(),
				strings.Join(command, " "), err, said), "")
		}
	}
	return nil
}
