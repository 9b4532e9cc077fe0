"""Trains the text encoder and the UNet: the text encoder alone first, then both in three phases."""

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from networks import SCHEDULE, TEXT_LENGTH, TEXT_WIDTH, new_text_encoder, new_unet
from progress import Average, set_rate
from scenes import CENTER, COLORS, SHAPES, caption, random_scene

BATCH = 32  # 16 captions at two noise levels each: the text encoder is a quarter of the cost
EMPTY_CAPTIONS = 0.1  # for classifier-free guidance
TEXT_LOSS = 0.05
EMA = 0.9985


@dataclass(frozen=True)
class Phase:
    """Settings of one part of the joint training. The loss weight of a noise level with signal-to-noise ratio s is
    base * min(s, 5) / s + noisy / (s + soft): min-SNR, which alone starves the noisy steps where the text decides
    colours and places, and a second term that feeds them."""

    rate: float  # peak learning rate
    warmup: int
    base: float
    noisy: float
    soft: float
    high: float  # part of a batch that has t in 600..999 only
    pairs: float = 0.0  # part of the draws that must be pairs
    small: float = 0.0  # part of the other draws that must be a small object


OBEY = Phase(rate=1.2e-3, warmup=200, base=0.5, noisy=0.5, soft=0.03, high=0.4)
COMPOSE = Phase(rate=9e-4, warmup=50, base=0.7, noisy=0.4, soft=0.04, high=0.35, pairs=0.35)
COMPOSE_LATE = Phase(rate=9e-4, warmup=50, base=0.8, noisy=0.4, soft=0.05, high=0.2, pairs=0.35)
COMPOSE_SWITCH = 0.6  # of its steps
FINISH = Phase(rate=3e-4, warmup=50, base=1.0, noisy=0.25, soft=0.1, high=0.1, pairs=0.15, small=0.5)


class SceneHead(torch.nn.Module):
    """Reads the scene off the text encoder's output; thrown away after training. Without it the encoder learns almost
    nothing: the UNet alone hands back too little gradient."""

    LAYOUTS = [*CENTER, "left of", "above", "plain"]
    SIZES = ["small", "medium", "large"]
    IGNORE = -100

    def __init__(self):
        super().__init__()
        # background, layout, size, then colour and shape of the first and the second object (or none)
        self.sizes = [len(COLORS), len(self.LAYOUTS), 3, len(COLORS), len(SHAPES), len(COLORS) + 1, len(SHAPES) + 1]
        self.linear = torch.nn.Linear(TEXT_WIDTH, sum(self.sizes))

    def loss(self, hidden, ids, end, captions, scenes):
        """Cross entropy at the first end-of-text token and at three random padding positions, empty captions left
        out. Returns the loss and the share of right answers."""
        keep = [i for i, text in enumerate(captions) if text]
        target = torch.tensor([self._target(scenes[i]) for i in keep])
        first = (ids[keep] == end).float().argmax(1)
        loss, right = 0.0, 0.0
        for look in range(4):
            at = first if look == 0 else _later(first)
            logits = self.linear(hidden[keep, at].float()).split(self.sizes, 1)
            loss = loss + sum(F.cross_entropy(l, target[:, i], ignore_index=self.IGNORE) for i, l in enumerate(logits)) / 4
            right += sum((l.argmax(1) == target[:, i]).float().mean() for i, l in enumerate(logits)) / len(logits) / 4
        return loss, float(right)

    def _target(self, scene):
        layout = {"single": scene.get("pos"), "pair": {"left": "left of"}.get(scene.get("rel"), "above")}
        out = [
            COLORS.index(scene["bg"]),
            self.LAYOUTS.index(layout.get(scene["kind"], "plain")),
            self.SIZES.index(scene.get("size", "medium")),
        ]
        absent = [(self.IGNORE, self.IGNORE), (len(COLORS), len(SHAPES))]
        for i in range(2):
            o = scene["objs"][i] if i < len(scene["objs"]) else None
            out += (COLORS.index(o["color"]), SHAPES.index(o["shape"])) if o else absent[i]
        return out


def _later(first):
    steps = (torch.rand(len(first)) * (TEXT_LENGTH - first)).long()
    return (first + steps).clamp(max=TEXT_LENGTH - 1)


def train_text(run, captions, total, batch=64):
    """The text encoder alone, on captions of fresh scenes: {"text", "head"} state dicts."""
    rng = run.seeded("text")
    text, head = new_text_encoder(captions.tokenizer), SceneHead()
    trained = [*text.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=1, betas=(0.9, 0.98), weight_decay=0.01)
    average = Average(0.95)
    for step in run.steps("text", total, rng, text=text, head=head, optimizer=optimizer):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1, (step + 1) / 30) * (0.05 + 0.95 * (1 - step / total))
        scenes = [random_scene(rng) for _ in range(batch)]
        texts = [caption(rng, scene) for scene in scenes]
        ids = captions(texts)
        with torch.autocast("cpu", torch.bfloat16):
            hidden = text(ids).last_hidden_state
        loss, right = head.loss(hidden, ids, captions.end, texts, scenes)
        _update(optimizer, loss, text.parameters())
        average.add(loss=loss, right=right)
        if (step + 1) % 50 == 0:
            run.log(f"text {step + 1}/{total}  {average}")
    return {"text": text.state_dict(), "head": head.state_dict()}


class Joint:
    """Text encoder, UNet and head while they are trained together, with their running means."""

    def __init__(self, captions, weights):
        self.captions = captions
        self.text, self.unet, self.head = new_text_encoder(captions.tokenizer), new_unet(), SceneHead()
        self.text.load_state_dict(weights["text"])
        self.head.load_state_dict(weights["head"])
        if "unet" in weights:
            self.unet.load_state_dict(weights["unet"])
        self.live = torch.nn.ModuleList([self.text, self.unet])
        self.mean = copy.deepcopy(self.live)
        self.optimizer = _optimizer(self.live, self.head)
        betas = torch.linspace(SCHEDULE["beta_start"] ** 0.5, SCHEDULE["beta_end"] ** 0.5, 1000) ** 2
        self.alpha = torch.cumprod(1 - betas, 0)

    def parts(self):
        """What a checkpoint has to hold."""
        return {"live": self.live, "mean": self.mean, "head": self.head, "optimizer": self.optimizer}

    def weights(self):
        """What the next phase and the export start from: the running means."""
        text, unet = self.mean
        return {"text": text.state_dict(), "unet": unet.state_dict(), "head": self.head.state_dict()}

    def step(self, rng, phase, scenes, latents, average):
        """One update. scenes: list of BATCH / 2, latents [BATCH / 2, 4, 16, 16]."""
        texts = ["" if rng.random() < EMPTY_CAPTIONS else caption(rng, scene) for scene in scenes]
        ids = self.captions(texts)
        z = latents.repeat(2, 1, 1, 1)
        t, noise = _noise_levels(phase.high), torch.randn_like(z)
        alpha = self.alpha[t].view(-1, 1, 1, 1)
        with torch.autocast("cpu", torch.bfloat16):
            hidden = self.text(ids).last_hidden_state
            noised = alpha.sqrt() * z + (1 - alpha).sqrt() * noise
            predicted = self.unet(noised, t, hidden.repeat(2, 1, 1)).sample
        error = ((predicted.float() - noise) ** 2).mean((1, 2, 3))
        weighted = (self._weight(phase, t) * error).mean()
        text_loss, right = self.head.loss(hidden, ids, self.captions.end, texts, scenes)
        _update(self.optimizer, weighted + TEXT_LOSS * text_loss, self.live.parameters())
        average.add(weighted=weighted, error=error.mean(), text=text_loss, right=right)

    def _weight(self, phase, t):
        snr = self.alpha[t] / (1 - self.alpha[t])
        return phase.base * snr.clamp(max=5.0) / snr + phase.noisy / (snr + phase.soft)

    @torch.no_grad()
    def follow(self, step):
        """Moves the running means towards the weights, quickly at first."""
        keep = min(EMA, (step + 1) / (step + 20))
        torch._foreach_lerp_(list(self.mean.parameters()), list(self.live.parameters()), 1 - keep)


def train_joint(run, stage, captions, weights, pool, total, phases):
    """One phase of the joint training from the weights of the one before. pool: scenes and their latents [n, 4, 16, 16].
    phases: a function from the step number to its Phase."""
    rng = run.seeded(stage)
    joint, average = Joint(captions, weights), Average(0.98)
    scenes, latents = pool
    for step in run.steps(stage, total, rng, **joint.parts()):
        phase = phases(step)
        set_rate(joint.optimizer, step, total, phase.rate, phase.warmup, floor=0.03)
        chosen = [_draw(rng, phase, scenes) for _ in range(BATCH // 2)]
        joint.step(rng, phase, [scenes[i] for i in chosen], latents[chosen].float(), average)
        joint.follow(step)
        if (step + 1) % 50 == 0:
            run.log(f"{stage} {step + 1}/{total}  {average}")
    return joint.weights()


def _draw(rng, phase, scenes):
    """Index of a scene: pairs and small objects are the harder part, so some draws insist on one."""
    if rng.random() < phase.pairs:
        return _insist(rng, scenes, lambda scene: scene["kind"] == "pair")
    if rng.random() < phase.small:
        return _insist(rng, scenes, lambda scene: scene.get("size") == "small")
    return rng.randrange(len(scenes))


def _insist(rng, scenes, wanted):
    while True:
        i = rng.randrange(len(scenes))
        if wanted(scenes[i]):
            return i


def _noise_levels(high):
    """t of every picture of the batch: spread evenly over 0..999, a part of them over 600..999 only."""
    n = int(BATCH * high)
    t = torch.cat([_spread(BATCH - n) * 1000, 600 + _spread(n) * 400])
    return t.long().clamp(0, 999)[torch.randperm(BATCH)]


def _spread(n):
    return (torch.arange(n) + torch.rand(n)) / max(n, 1)


def _optimizer(live, head):
    matrices = [p for p in live.parameters() if p.ndim > 1]
    others = [p for p in live.parameters() if p.ndim <= 1] + list(head.parameters())
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=1, betas=(0.9, 0.99), fused=True)


def _update(optimizer, loss, clipped):
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(clipped, 1.0)
    optimizer.step()
