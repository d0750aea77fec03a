package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"postmend/filter"
	"postmend/postfix/postconf"
	"postmend/postfix/setup"
)

// changePostfix carries out the changes of Postfix's files, has Postfix answer for them, and goes back if
// anything is wrong.
func (inv *invocation) changePostfix(ctx context.Context, c *postconf.Config, domains *setup.Domains,
	plan *setup.Plan, h *home, changes []setup.Step) error {
	srs, err := h.srsAddresses()
	if err != nil {
		return err
	}
	snapshot, err := plan.TakeSnapshot()
	if err != nil {
		return err
	}
	proof := plan.NewProof(ctx, domains, srs)
	if err = inv.carryOut(true, changes); err == nil {
		err = proof.After(ctx)
	}
	if err == nil {
		if proof.Missing != "" {
			inv.notes([]string{"Postfix was not asked by SMTP whether it still answers: " + proof.Missing})
		}
		return nil
	}
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	back := snapshot.Restore()
	if back == nil && c.IsRunning() {
		back = c.PostfixCommand("reload").Run()
	}
	if back != nil {
		return fmt.Errorf("%w. Going back failed as well: %w. Run postmend setup --undo", err, back)
	}
	return fmt.Errorf("%w. main.cf and master.cf are as they were before, and Postfix uses them; the mail log tells more about %s",
		err, time.Now().Format("15:04"))
}

// srsAddresses makes the addresses that Postfix is asked about.
func (h *home) srsAddresses() (setup.SRSAddresses, error) {
	config, err := filter.LoadConfig(h.path)
	if err != nil || config.SRS.Domain == "" {
		return setup.SRSAddresses{}, err
	}
	rewriter, err := filter.NewRewriter(config, time.Now)
	if err != nil {
		return setup.SRSAddresses{}, err
	}
	a := setup.SRSAddresses{Original: "postmaster@setup.invalid"}
	if a.Valid, err = rewriter.Forward(a.Original); err != nil {
		return setup.SRSAddresses{}, err
	}
	const tag = len("SRS0=")
	forged := []byte(a.Valid)
	for _, letter := range []byte("AB") {
		if forged[tag] != letter {
			forged[tag] = letter
			break
		}
	}
	a.Forged = string(forged)
	return a, nil
}
