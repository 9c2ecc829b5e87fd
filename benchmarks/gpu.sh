#!/bin/bash
# Measures what results/gpu.md leaves open, in 25 minutes of an H200, with clones of
# github.com/cszn/DPIR and github.com/openai/guided-diffusion here. No part takes over four minutes.
# After an interruption, or of a part that ran out of time, it goes on where it was.
export PYTHONPATH=src:DPIR:guided-diffusion
part() { timeout "$1" python benchmarks/gpu.py "${@:2}" out=results/gpu.jsonl; }

part 60 checks
part 110 candidates archs=drunet 'ways=^(one pass|weights from [0-9]+|loop|loop graph|pass graph)$'
part 200 candidates archs=drunet 'ways=^(t map|one pass|loop), compiled$'
part 190 candidates archs=drunet 'ways=^(FiLM|loop graph|1 scalar), compiled$'
part 150 candidates archs=adm 'ways=^(one pass|loop graph|pass graph|weights from 0, other layout)$'
part 220 candidates archs=adm 'ways=^(t map|one pass), compiled, other'
part 190 candidates archs=adm 'ways=^(loop|FiLM|t map), compiled$'
part 120 training archs=drunet
part 150 training archs=adm
part 110 originals
python scripts/tables.py results/gpu.md
