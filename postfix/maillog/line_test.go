package maillog

import "testing"

// What the milter found is no run of the filter: with it in front, the report counts what it did before.
func TestTheMiltersLinesAreNoRuns(t *testing.T) {
	const runs = "postmend[1]: 4bXk2w1z: classes=forwarded:1 from=<a@b.example> dmarc=pass result=queued " +
		"time=0.010s\n"
	const door = "postmend[1]: 4bXk2w1z: milter: client=192.0.2.25 from=<a@b.example> dmarc=pass " +
		"result=judged time=0.004s\n" +
		"postmend[1]: 4bXk2w2z: milter: client=192.0.2.25 from=<a@b.example> result=refused time=0.004s " +
		"why=own-domain-forged\n"
	_, without := outcomesOf(t, runs)
	if _, with := outcomesOf(t, door+runs); with.Runs != 1 || without.Runs != 1 {
		t.Errorf("%d runs with the milter, %d without", with.Runs, without.Runs)
	}
}
