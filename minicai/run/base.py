"""What a run starts from: a base model, and where its prompts come from."""
import json
import shutil
from dataclasses import asdict
from pathlib import Path

from minicai import UserError, checkpoint, data, hf
from minicai.run import device_of, seeded, stage
from minicai.toyworld import pretrain, source, world

PROMPTS = "prompts.json"            # in the base of a run on people's own prompts: the harmful ones, the harmless ones


def source_of(run: Path) -> source.Embedded | data.Files:
    """Where a run's prompts come from: people's files, if its base keeps some, or the world its base was made for."""
    own = run / "base" / PROMPTS
    return data.Files(own) if own.is_file() else source.Embedded(world.World.of(run))


def bring_base(cfg) -> source.Embedded | data.Files:
    """See that train_sl's run has a base: one from --base, its own from before, or one pretrained from nothing."""
    run, files = Path(cfg.run), [path for path in (cfg.red_team, cfg.helpful) if path]
    if files and not (cfg.base and len(files) == 2):
        raise UserError("--base FOLDER, --red-team FILE and --helpful FILE go together: give all three")
    brought = (run / ".sl.state").exists() or (run / "base").exists() and not cfg.overwrite     # before it was stopped
    if cfg.base and not (cfg.resume and brought):
        ours = (Path(cfg.base) / checkpoint.WEIGHTS).exists()   # refuse what will not do before anything is written
        model, tokenizer = (checkpoint.load_model if ours else hf.load)(Path(cfg.base))
        if not ours and not files:
            raise UserError(f"{cfg.base}: does not know the embedded world; add --red-team FILE and --helpful FILE")
        own = [data.fitting(path, tokenizer, model.config.max_position_embeddings - cfg.max_new) for path in files]
        with stage(cfg, "base") as log:
            if ours:
                shutil.copytree(cfg.base, log.folder, dirs_exist_ok=True)
            else:
                checkpoint.save_model(log.folder, model, tokenizer, asdict(cfg) | {"frames": 0})   # of the world: none
            if own:
                (log.folder / PROMPTS).write_text(json.dumps(own, ensure_ascii=False) + "\n", encoding="utf-8")
    elif not (run / "base").exists():
        with stage(cfg, "base") as log:
            pretrain.make_base(log, cfg, *seeded(cfg.seed, "base", device_of(cfg.device)))
    return source_of(run)
