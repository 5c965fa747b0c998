"""What the demo's invented tweets are made of: slots, and templates that fill them.

Nobody wrote these tweets about themselves. They describe, in the words of many kinds of people; they never say
how a drug is taken. A template's {slot} is filled at random, slots may hold slots, and "^tag" after an
alternative says which tag it brings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Family:
    """Templates that share a verdict and tags. `weight` is how often it is drawn beside its neighbours."""

    name: str
    verdict: Literal["DA", "NDA"]
    templates: tuple[str, ...]
    tags: tuple[str, ...] = ()
    weight: float = 1.0
    link: float = 0.04  # share with a link
    hashtags: str = "everyday"  # which hashtags may follow
    wrong_tags: tuple[str, ...] = ()  # what a collector by keyword would have tagged


def lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.strip().splitlines() if line.strip())


def slot(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.replace("\n", " ").split("|") if part.strip())


# Slots -----------------------------------------------------------------------------------------------------

SLOTS: dict[str, tuple[str, ...]] = {
    # Substances: what people call them, and the tag.
    "opi": slot("""percs ^oxycodone | perc 30s ^oxycodone | percocets ^oxycodone | oxy ^oxycodone |
        oxys ^oxycodone | roxies ^oxycodone | percocet ^oxycodone | oxycodone ^oxycodone |
        hydrocodone ^hydrocodone | vicodin ^hydrocodone | norcos ^hydrocodone | vikes ^hydrocodone |
        lortabs ^hydrocodone | hydros ^hydrocodone | lean ^codeine / lean | codeine ^codeine / lean |
        wock ^codeine / lean | purple drank ^codeine / lean | tramadol ^tramadol | tramadols ^tramadol |
        trammies ^tramadol | morphine ^morphine | oramorph ^morphine | methadone ^methadone |
        fent ^fentanyl | fetty ^fentanyl | fentanyl ^fentanyl | heroin ^heroin | dope ^heroin | smack ^heroin |
        kratom ^kratom | red bali ^kratom | kratom shots ^kratom | painkillers ^opioids | pain pills ^opioids |
        opiates ^opioids | opioids ^opioids | suboxone ^buprenorphine |
        suboxone strips ^buprenorphine | subutex ^buprenorphine"""),
    "benzo": slot("""xans ^benzodiazepines | xanax ^benzodiazepines | xan bars ^benzodiazepines |
        klonopin ^benzodiazepines | valium ^benzodiazepines | benzos ^benzodiazepines |
        ativan ^benzodiazepines | alprazolam ^benzodiazepines"""),
    "stim": slot("""coke ^stimulants | adderall ^stimulants | addy ^stimulants | meth ^stimulants | cocaine ^stimulants |
        crystal meth ^stimulants | a bump of coke ^stimulants | vyvanse ^stimulants"""),
    "drink": slot(
        """henny | vodka | wine | a couple beers | whiskey | gas station wine | tequila | rum | cider"""
    ),
    "count": slot(
        "two | three | four | a few | couple | like five | half a dozen | one more of | the last of"
    ),
    "early": slot("""three days early | a week early | four days before the refill | 9 days short again |
        way too soon | before the month is out | five days ahead of the calendar | with a whole week to go |
        long before friday | two weeks ahead of schedule"""),
    "body": slot("""skin crawling | legs won't stop kicking | bones feel like glass | sweating through the sheets |
        sneezing nonstop and freezing | stomach in knots | can't keep soup down | yawning and shaking |
        goosebumps for hours | nose running like a tap | every joint on fire | hot then cold then hot |
        shivering under three blankets | eyes watering all night | restless down to my toes"""),
    "when": slot("""tonight | rn | again | today | this morning | since sunday | all week | before work |
        on my lunch break | at 4am | after the kids went down | in the parking lot | on a tuesday | yesterday |
        after my shift | since i woke up | for the third night | at my sister's wedding | in the bathroom stall |
        on the night bus | between classes | before church"""),
    "mood": slot("""don't judge me | it is what it is | i know i know | whatever | tired of lying about it |
        nobody has to know | last time i swear | i said that last week too | my girl can't find out |
        idc anymore | it's the only quiet i get | at least it's warm in here | i'm so done | same as every friday |
        and i hate that i love it | back to square one | not proud of it | it's fine i'm fine | lol help |
        my mom would cry | i can stop in january | what else is new | this is my whole personality now |
        couldn't tell you why | it don't even work like it used to | i just want to sleep | judge me idc |
        don't tell my sponsor | somebody take my phone | the ceiling is so pretty"""),
    "who": slot("""my brother | my cousin | my roommate | my ex | this girl at work | my neighbour | my best friend |
        my uncle | my line cook | the new guy | my coworker | a dude i know | my bandmate | my stepdad"""),
    "feel": slot("""floating | numb | warm | like a blanket | like nothing hurts | weightless | half asleep |
        slow and golden | a million miles away | like honey | finally quiet | melted into the couch | fuzzy"""),
    "money": slot("two | three | a twenty | forty | a few | something | like thirty | half | one or two"),
    "payday": slot("""till friday | till payday | til the 1st | until my check clears | till monday |
        til my disability hits | until next week | till the weekend"""),
    # Everyday life.
    "city": slot("""Harlow Falls | Port Ardent | Millbrook | Cedar Junction | Easton Bay | Grayfield | Lakeport |
        Norwick | Pinehurst | Riverton | Saltmarsh | Tallow Creek | Union Flats | Westmere | Ashdown | Brightwater |
        Coldspring | Dunmore | Elk Prairie | Fallon Ridge"""),
    "state": slot("""Ohio | Kentucky | Vermont | Oregon | Maine | Ontario | Arizona | West Virginia | Texas |
        New Mexico | Tennessee | Indiana | Scotland | Alberta | Michigan | Florida"""),
    "person": slot("""my mom | my dad | grandma | my boss | my kid | my wife | my husband | my best friend |
        the neighbour | my sister | my little brother | our coach | my landlord | my teacher | my roommate |
        my manager | my aunt | my boyfriend | my girlfriend | the barista | the bus driver | my dentist |
        my cousin | the guy next door | my grandson | the babysitter | our vet | my trainer"""),
    "food": slot("""tacos | pancakes | ramen | lasagna | cold pizza | banana bread | a burrito | pho | chili |
        mac and cheese | grilled cheese | sushi | fried rice | waffles | cheesecake | dumplings | curry |
        garlic bread | pot roast | a bagel | leftover stew | nachos | cinnamon rolls | brisket | kimchi |
        tomato soup | apple pie | hummus | shrimp | a burger the size of my head"""),
    "show": slot("""this show | that baking show | the finale | season 3 | that detective series | the new episode |
        the reunion special | this anime | that space documentary | the cooking contest | that vampire thing |
        the courtroom drama | my comfort sitcom | the dating show | that hospital drama | the heist movie"""),
    "team": slot("""the Otters | the Comets | the Harbor Hawks | the Millers | the Kestrels | the Wolves |
        the Redwoods | the Lanterns | the Bisons | the Foxes | the Mariners U12s | the Tigers | the Badgers"""),
    "sport": slot(
        "baseball | hockey | football | basketball | soccer | cricket | volleyball | rugby | softball"
    ),
    "play": slot("""a walk-off hit | a three pointer | a penalty save | a double play | an own goal | a buzzer beater |
        a hat trick | a wild pitch | a 40 yard run | a clean sheet | two errors | an overtime goal | a triple"""),
    "pet": slot("""the cat | my dog | the puppy | our parrot | the hamster | the neighbour's goat | my old beagle |
        the kitten | this hedgehog | the goldfish | my rescue mutt | the chickens | the tortoise"""),
    "petdoes": slot("""knocked my mug off the desk | stole a whole sandwich | is asleep on the keyboard |
        barks at the moon | ate my homework for real | brought me a sock | won't share the couch |
        learned to open doors | is scared of the vacuum | only drinks from my glass | howls at ambulances |
        sat on my laptop in the meeting | hid in the dryer | chased its tail for an hour"""),
    "weather": slot("""rain | snow | fog | this heat | the wind | sunshine | hail | thunder | a perfect breeze |
        drizzle | frost | humidity | another storm | grey skies"""),
    "time": slot("""this morning | last night | today | on monday | this weekend | after work | before sunrise |
        at lunch | all afternoon | for an hour | since breakfast | at midnight | on the way home | yesterday |
        this summer | for the first time in years | twice this week | during the meeting"""),
    "adj": slot("""great | weird | wild | sweet | boring | perfect | cursed | cozy | loud | tiny | ridiculous |
        beautiful | messy | fancy | underrated | iconic | chaotic | adorable | haunted | expensive | suspicious"""),
    "job": slot("""nurse | teacher | plumber | barista | bus driver | librarian | coder | line cook | florist |
        paralegal | electrician | bartender | accountant | zookeeper | welder | tailor | mail carrier | baker"""),
    "thing": slot("""my bike | the printer | my phone | this couch | the fridge | my umbrella | the kettle |
        an old guitar | my glasses | a lamp | the dishwasher | my headphones | a typewriter | this notebook |
        the vacuum | my car | the garage door | a ladder | grandpa's watch | the router | my passport"""),
    "thingdoes": slot("""broke | vanished | turned up under the bed | makes a new noise | won't turn on | got stolen |
        finally works | fell down the stairs | smells like toast | is haunted | needs new batteries |
        caught on the fence | leaks | died five minutes after the warranty | survived the wash"""),
    "music": slot("""album | song | mixtape | playlist | remix | concert | opening track | chorus | bassline |
        live set | cover | demo tape | music video | encore | drum solo"""),
    "band": slot("""the Paper Lanterns | Velvet Otter | DJ Marmalade | the Night Herons | Glass Teapot |
        Old Man Static | Cassia Blue | the Broken Kites | Sunday Arcade | Lowland Choir | Mx. Comet"""),
    "game": slot("""chess | mario kart | that farming game | solitaire | the new shooter | bingo | sudoku |
        trivia night | tetris | the puzzle of the day | fantasy league | poker night | pinball | the escape room"""),
    "subject": slot("""algebra | chemistry | history | my thesis | spanish | biology | the driving test |
        statistics | my essay | organic chem | the bar exam | geography | poetry class | shop class"""),
    "place": slot("""the library | the gym | the bus stop | the dmv | the farmers market | the park | the office |
        the laundromat | the airport | the zoo | the beach | the museum | ikea | the corner shop | the pool |
        the waiting room | the church hall | the food truck | the trailhead | the thrift store"""),
    "act": slot("""waited two hours | ran into an old friend | lost my keys | cried a little | found five dollars |
        got sunburned | fell asleep | saw a heron | met my hero | forgot why i came | dropped everything |
        made a new friend | took the wrong bus | got complimented twice | missed my stop | held a baby goat"""),
    "wish": slot("""a nap | more coffee | a raise | better knees | a quiet weekend | rain boots | a time machine |
        world peace | fewer meetings | one good hair day | a bigger kitchen | new neighbours | a holiday |
        a sandwich | an extra thumb | eight hours of sleep | a window seat | a dog"""),
    "react": slot("""lol | i can't | send help | best day ever | so there's that | what a time | 10/10 | no regrets |
        ask me how i know | life is good | i'm not crying | make it stop | we love to see it | imagine that |
        true story | unreal | not even mad | day made | that's the tweet | anyway | who's with me | i said what i said |
        i need a minute | adulthood is a scam | 2/10 would not repeat | this is fine | please advise |
        somebody explain | my therapist will hear about this | and yet here we are | worth it | never again |
        and i have the photos | i'm told this is normal"""),
    "opinion": slot("""is underrated | is overrated | deserves an award | should be illegal | changed my life |
        is my whole personality | needs a sequel | ruined me | is a love language | is a cry for help |
        cures everything | is not a breakfast | makes me believe again | is the hill i die on"""),
    "num": slot(
        "2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 | 12 | 15 | 20 | 27 | 30 | 40 | 44 | 50 | 60 | 75 | 90 | 100"
    ),
    "big": slot("1.2 | 2 | 3.4 | 4.5 | 6 | 8 | 10 | 12 | 17 | 26 | 40 | 55 | 75 | 110"),
    "year": slot("2014 | 2015 | 2016 | 2017 | 2018 | 2019 | 2021 | 2022 | 2023"),
    "day": slot("monday | tuesday | wednesday | thursday | friday | saturday | sunday"),
    "handle": slot("""@demo_marlow | @demo_pixel | @demo_juniper | @demo_wren | @demo_tansy | @demo_otis | @demo_quill |
        @demo_bramble | @demo_saffron | @demo_dusty | @demo_ziggy | @demo_fern | @demo_newsdesk | @demo_radio4u |
        @demo_cityhall | @demo_weekly"""),
    # Institutions.
    "agency": slot("""the CDC | the DEA | the state health department | a federal judge | the county coroner |
        lawmakers in {state} | the attorney general of {state} | {city} police | the Senate panel |
        a jury in {city} | the {city} council | researchers at {city} University | the health ministry |
        the sheriff of {city} | regulators | a new task force in {state}"""),
    "newsverb": slot("""warns of | reports a rise in | releases new figures on | debates | approves a plan against |
        announces funding against | publishes a study on | holds a hearing on | sues over | settles a case over |
        launches a campaign about | maps | is asked to act on | changes the rules on"""),
    "newsdrug": slot("""fentanyl ^fentanyl | counterfeit oxycodone ^oxycodone | prescription opioids ^opioids,prescription |
        heroin ^heroin | methamphetamine ^stimulants | opioid ^opioids | kratom ^kratom | tramadol ^tramadol |
        xanax ^benzodiazepines | hydrocodone ^hydrocodone | carfentanil ^fentanyl | cocaine ^stimulants |
        codeine syrup ^codeine / lean | methadone ^methadone | morphine ^morphine | buprenorphine ^buprenorphine"""),
    "newsnoun": slot("""overdoses ^overdose | overdose deaths ^overdose | use among teens | trafficking ^diversion & dealing |
        prescribing ^prescription | shortages in hospitals | seizures at the border | addiction ^addiction |
        treatment waiting lists ^treatment & recovery | sales online ^diversion & dealing | lawsuits |
        exposure in first responders | dependence after surgery ^addiction,pain | test results | advertising"""),
    "helpnoun": slot("""naloxone training ^naloxone | narcan kits ^naloxone | a syringe service ^injection |
        harm reduction supplies ^treatment & recovery | a recovery meeting ^treatment & recovery |
        methadone take home doses ^methadone,treatment & recovery | a free rehab bed ^treatment & recovery |
        suboxone appointments ^buprenorphine,treatment & recovery | fentanyl test strips ^fentanyl |
        medication assisted treatment ^treatment & recovery | a detox hotline ^treatment & recovery"""),
    "rx": slot("""percocet ^oxycodone | oxycodone ^oxycodone | hydrocodone ^hydrocodone | tramadol ^tramadol |
        codeine ^codeine / lean | vicodin ^hydrocodone | morphine ^morphine | opioid pain meds ^opioids,pain"""),
    "surgery": slot("""my knee surgery | a root canal | the c-section | my hip replacement | wisdom teeth | the car wreck |
        back surgery | a broken wrist | shoulder surgery | kidney stones | my hernia repair | a burst appendix"""),
    "emoji": slot(
        "😂 | 😭 | 🙃 | 🔥 | 💀 | ❤️ | 😴 | 🤦 | 🙏 | ✨ | 😅 | 🥲 | 👀 | 🎉 | 🤷 | 💯 | 😤 | 🌧️ | ☕ | 🐶"
    ),
    "dazeemoji": slot("😵‍💫 | 💊 | 🥴 | 😶‍🌫️ | 🙃 | 💀 | 😮‍💨 | 🍇 | 😴 | 🖤 | 🤕 | 🫠 | 😭"),
}

HASHTAGS: dict[str, tuple[str, ...]] = {
    "everyday": slot("""#MondayMood | #blessed | #fail | #weekend | #tbt | #foodie | #nofilter | #DogsOfDemo | #gameday |
        #NowPlaying | #parenting | #work | #travel | #DemoTown | #bookclub | #fitness | #catlife | #throwback"""),
    "news": slot("""#news | #health | #publichealth | #DemoNews | #breaking | #policy | #localnews | #opioidcrisis ^opioids,policy & news |
        #opioidepidemic ^opioids,policy & news"""),
    "help": slot(
        "#harmreduction | #recoveryposse | #wedorecover | #community | #publichealth | #yournotalone"
    ),
    "da": slot("#nosleep | #mood | #dontjudge | #numb | #fridaynight | #real | #latenight | #help | #broke"),
}

# Tweets with a keyword, from people who write about their own use ---------------------------------------------

DA_KEYWORD = [
    Family(
        "using",
        "DA",
        lines("""
        took {count} {opi} {when} and i feel {feel}
        {feel} off {opi} {when}, {mood}
        nothing like {opi} {when}. {mood}
        me and {opi} against the world {when}, {mood}
        popped {count} {opi} before {person} got home, {mood}
        {opi} {when} because the silence was too loud
        honestly {opi} is the only thing that makes {day}s bearable, {mood}
        i get so much done on {opi} and then i just sit there {feel}
        {who} asked why i'm so chill, it's {opi}, it's always {opi}
        wish i could feel {feel} without {opi}. {mood}
        could go for {count} {opi} rn, {mood}
        that {opi} hit different {when}
        made dinner, did laundry, took {opi}, now i'm {feel}. {mood}
        i promised {person} no more {opi} and here i am {when}
        {opi} and {show}, perfect night, {mood}
        been on {opi} since {year}, {mood}
        told {person} it was allergies. it was {opi}
        if you need me i'm {feel} on {opi} {when}
        it's {day}, i'm on {opi}, leave me alone
        someone said try yoga. i said i have {opi}
        """),
        tags=("slang & high",),
        hashtags="da",
        weight=3,
    ),
    Family(
        "running out",
        "DA",
        lines("""
        out of {opi} {early}, {body}. {mood}
        ran out early again, no {opi} {payday} and my {body}
        withdrawals {when}: {body}, {body}. should have saved some {opi}
        dopesick {when}. {body}. anybody
        day {num} without {opi} and i'm {body}, {mood}
        called in to work because no {opi}, {body}
        the withdrawal from {opi} is worse than they tell you, {body} {when}
        cold turkey off {opi} was a mistake, {body}
        {body}, {body}, and the {opi} ran out {early}
        counting {opi} like rent money, {num} left {payday}
        """),
        tags=("withdrawal",),
        hashtags="da",
        weight=1.6,
    ),
    Family(
        "asking around",
        "DA",
        lines("""
        who got {opi} in {city}, cash {when}
        my plug is not answering {when} and i need {opi}, {mood}
        anyone with {opi}, hit me up for once, {payday} i'm good for it
        {who} charges me double for {opi} now, {mood}
        sold {thing} for {opi}. {mood}
        trading {opi} for a ride to {city}, dm
        drove to {city} and back for {opi}, dealer never showed, {mood}
        {num} a pill for {opi} is robbery and i paid it, {mood}
        who has some {opi} i can't do this {payday}
        took {count} of grandma's {opi}, she won't notice, {mood}
        need a plug near {place}, just {opi}, {mood}
        """),
        tags=("diversion & dealing",),
        hashtags="da",
        weight=1.4,
    ),
    Family(
        "mixing",
        "DA",
        lines("""
        {opi} and {benzo} {when}, can't feel my face, {mood}
        washed it down with {drink}, {opi} {when}, {mood}
        {benzo} then {opi} then {drink} then nothing, woke up at {place}
        {stim} to get up, {opi} to come down, {mood}
        {drink} plus {benzo} plus a bad idea {when}
        i know you shouldn't mix {opi} and {benzo}, {mood}
        {opi}, {drink} and {show}. {mood}
        """),
        tags=("polydrug",),
        hashtags="da",
    ),
    Family(
        "benzos",
        "DA",
        lines("""
        barred out at {place}, don't remember {day}, {mood}
        {count} {benzo} in and i texted {person}, {mood}
        lost the whole of {day} to {benzo}, {mood}
        {benzo} got me {feel} {when}
        can't sleep without {benzo} anymore, {mood}
        ate my {benzo} like candy {when}, {mood}
        """),
        tags=("benzodiazepines",),
        hashtags="da",
    ),
    Family(
        "stimulants",
        "DA",
        lines("""
        up {num} hours on {stim}, {mood}
        {stim} {when} and my heart is a drum solo, {mood}
        someone bring {stim} to {place}, i have a shift {when}
        told myself one line of coke. it was not one. {mood}
        {stim} for breakfast again, {mood}
        {who} brought {stim} to {place} and there goes my {day}
        """),
        tags=("stimulants",),
        hashtags="da",
    ),
    Family(
        "caught in it",
        "DA",
        lines("""
        i'm hooked on {opi} and i don't know who to tell, {mood}
        relapsed {when}. {num} days gone. {opi}. {mood}
        everyone thinks i beat the addiction. i'm on {opi} {when}
        i'm an addict and i'm tired, {opi} {when} again
        can't stop using {opi}, {person} is leaving me
        my addiction took {thing}, my job and {person}. still want {opi}
        five years of {opi}, you don't even get high, you just get normal, {mood}
        nodding off at {place}, {person} took my keys
        spent rent on {opi}, {mood}
        my habit is {opi} and my hobby is lying about it
        """),
        tags=("addiction",),
        hashtags="da",
        weight=1.6,
    ),
    Family(
        "pain that became more",
        "DA",
        lines("""
        they gave me {rx} for {surgery} in {year}. pain is gone. i'm still on it {when}
        my back pain is fine, i just like {opi}, {mood}
        told the doctor the pain was a ten so i'd get {rx}, {mood}
        doubling my {rx} {when}, the pain is not even bad, i'm just sad
        new doctor, new script for {rx}, same story about {surgery}, {mood}
        snuck {count} of {person}'s {rx} after {surgery}, {mood}
        """),
        tags=("pain", "prescription"),
        hashtags="da",
    ),
    Family(
        "too close",
        "DA",
        lines("""
        od'd {when}, {who} found me, three shots of narcan, and i still want {opi} ^naloxone
        woke up in an ambulance after {opi}, second time this year, {mood}
        overdosed in {year} on {opi}, using again {when}, {mood}
        {who} turned blue next to me on {opi} and i went back {when}, {mood}
        almost overdosed on {opi} at {place}, laughed about it, cried about it
        """),
        tags=("overdose",),
        hashtags="da",
        weight=0.7,
    ),
    Family(
        "needle",
        "DA",
        lines("""
        long sleeves {when} because of the track marks, {mood}
        {person} saw the needles in my bag, {mood}
        swore i'd never touch a needle. {opi}, {when}, {mood}
        abscess again. can't go to the er, they look at you like that
        hiding track marks at {person}'s birthday, {mood}
        """),
        tags=("injection",),
        hashtags="da",
        weight=0.6,
    ),
    Family(
        "tapering alone",
        "DA",
        lines("""
        selling {thing} to pay the suboxone clinic then using {opi} anyway, {mood} ^buprenorphine
        skipped the methadone clinic {when}, went to {who} instead, {mood} ^methadone
        saving my subutex for when the dope runs out, {mood} ^buprenorphine,heroin
        day {num} of my own detox, took {opi} {when}, {mood}
        got kicked out of rehab for {opi}, {mood}
        """),
        tags=("treatment & recovery",),
        hashtags="da",
        weight=0.7,
    ),
]

# The same lives, without a keyword ----------------------------------------------------------------------------

DA_WITHOUT = [
    Family(
        "without: running out",
        "DA",
        lines("""
        ran out {early} again, {body}
        out {early}. {body}. {mood}
        {body} and the bottle's been empty {when}, {mood}
        {num} left to last me {payday}, the math never works, {mood}
        they won't fill it {payday} and my {body}
        my {body}, can't tell {person} it isn't the flu
        told work it's the flu. it's never the flu. {body}
        three days in, {body}, {mood}
        nobody warned me about day three. {body}, {body}
        i'd trade {thing} for one more {when}, {body}
        sick again because i went through a month's worth in {num} days, {mood}
        shook the bottle like more would fall out, {body}
        {body}. one would fix it. just one. {mood}
        """),
        tags=("withdrawal",),
        hashtags="da",
        weight=2,
    ),
    Family(
        "without: asking",
        "DA",
        lines("""
        who can front me {money} {payday}
        my guy's phone is off {when} and i'm losing it, {mood}
        anyone around {city} holding, i got cash {when}
        need {money} bad, usual spot by {place}, {mood}
        he raised it to {num} each, {mood}
        drove to {city} for nothing, dude never came out, {mood}
        {who} said he'd sell me his whole bottle {when}
        went through {person}'s medicine cabinet {when}, {mood}
        told {person} i dropped them down the sink so they'd refill it, {mood}
        new doc, same story about my back, {mood}
        if you know you know, {city}, {when}, dm me
        met him behind {place} again, {num} bucks gone, {mood}
        {person}'s meds keep disappearing and i keep acting surprised
        """),
        tags=("diversion & dealing",),
        hashtags="da",
        weight=1.6,
    ),
    Family(
        "without: feeling",
        "DA",
        lines("""
        took {count} more than the label says {when}, {feel}, {mood}
        {feel} {when}, chin on my chest at {place}, {mood}
        cigarette burned down to my fingers, didn't feel it, {feel}
        itchy and {feel} and it's only noon, {mood}
        can't feel my legs, can't feel my ex, {feel} {when}
        pupils like pencil points in the mirror, {mood}
        fell asleep standing up at {place} {when}, {mood}
        woke up at {place} with no shoes and half a bottle gone, {mood}
        the little blue ones make {day} go away, {mood}
        two in the morning, two in my hand, {mood}
        i crush the day with {count} of those and then i'm {feel}
        swallowed {count}, put on {show}, {feel}
        used to take them for {surgery}. now i take them for {day}
        warm from the inside {when}, {mood}
        {count} little white friends {when} and i'm {feel}
        """),
        tags=("slang & high",),
        hashtags="da",
        weight=2,
    ),
    Family(
        "without: caught in it",
        "DA",
        lines("""
        pawned {thing} again for you know what, {mood}
        {person} counted my bottle {when}. we don't talk now
        promised {person} i'd flush them. flushed half. {mood}
        {num} days and then i went back {when}, {mood}
        i plan my whole day around when i can take the next one, {mood}
        hid some in {thing}, hid some from myself, {mood}
        i don't even want it, i need it, {mood}
        missed {person}'s birthday because i couldn't get well first
        spent the rent on it {when}, {mood}
        can't be the only one who can't start the car without one, {mood}
        i was going to quit {day}. it's {day}. {mood}
        lied to {person} {when} with my eyes half shut, {mood}
        locked myself in the bathroom at {place} {when}, twenty minutes, {mood}
        first one's for the morning, second one's for the guilt, {mood}
        """),
        tags=("addiction",),
        hashtags="da",
        weight=1.6,
    ),
]

# Tweets with a keyword, that say nothing of the writer's own use -------------------------------------------------

NDA_KEYWORD = [
    Family(
        "news",
        "NDA",
        lines("""
        {agency} {newsverb} {newsdrug} {newsnoun}
        {city}: {agency} {newsverb} {newsdrug} {newsnoun}
        BREAKING: {agency} {newsverb} {newsdrug} {newsnoun} in {state}
        ${big} million grant to educate clinicians who prescribe opioids in {state} ^opioids,prescription
        {agency} {newsverb} overdose deaths, up {num}% since {year} ^overdose
        {newsdrug} {newsnoun}: what {state} learned since {year}
        police in {city} seized {num} kg of {newsdrug}, {num} people charged ^diversion & dealing
        why the opioid epidemic hit {state} so hard, a thread ^opioids
        drugmaker agrees to ${big} million settlement over {newsdrug} marketing in {state}
        study of {num}0,000 patients: {newsdrug} {newsnoun} fell after new guideline
        opinion: the war on drugs failed {city}, here is what could work
        {agency} on {newsdrug} {newsnoun}: “we need {wish} and honest data”
        man from {city} sentenced to {num} years for selling {newsdrug} ^diversion & dealing
        podcast: how {newsdrug} {newsnoun} changed one street in {city}
        {num} things reporters get wrong about {newsdrug} {newsnoun}
        new documentary on the opioid crisis in {city} airs {day}, {handle} reviews it ^opioids
        graph of the day: {newsdrug} {newsnoun} by county, {state}, {year}
        """),
        tags=("policy & news",),
        link=0.7,
        hashtags="news",
        weight=4,
    ),
    Family(
        "help offered",
        "NDA",
        lines("""
        {helpnoun} at {place} in {city} on {day}, free, no questions asked
        {city} library now offers {helpnoun}, tell a neighbour
        volunteers needed for {helpnoun} this {day} in {city}
        we handed out {num} packs and {helpnoun} {time}, thank you {city}
        as a {job} i carry narcan. so can you. training {day} at {place} ^naloxone
        if you or someone you love struggles with opioids, {helpnoun}, call {city} health ^opioids
        proud of our team: {helpnoun} now in {num} counties of {state}
        overdose awareness day: {helpnoun}, candles, and names read aloud at {place} ^overdose
        ask me anything about {helpnoun}, {day} with {handle}
        addiction is a health condition. {helpnoun} saves lives in {state} ^addiction
        """),
        tags=("treatment & recovery",),
        link=0.4,
        hashtags="help",
        weight=2,
    ),
    Family(
        "recovery",
        "NDA",
        lines("""
        {num} months clean from heroin {time}. grateful for {person} ^heroin
        {num} years sober, i used to need pills to get up, now i need {wish} ^addiction
        suboxone gave me my life back, {num} months in recovery, ask me anything ^buprenorphine
        celebrating {person}: {num} years in recovery {time} ^addiction
        to the person counting day one: i was there in {year}. keep coming back
        methadone is treatment. {person} is {num} years stable and runs a {job} business ^methadone
        went to a meeting {time} instead of using. {num} days. {wish} next
        recovery is {food} at {time} with {person} and nowhere to hide
        """),
        tags=("treatment & recovery",),
        hashtags="help",
        weight=1.4,
    ),
    Family(
        "grief",
        "NDA",
        lines("""
        lost {who} to an overdose in {year}. check on your people
        {num} years since fentanyl took {who}. we miss you every {day} ^fentanyl
        {who} died of an overdose. please don't call anyone a junkie
        my heart is with {city}, another overdose at {place}, somebody's child
        they said {who} took one pill. it was fentanyl. one. ^fentanyl
        """),
        tags=("overdose",),
        hashtags="help",
        weight=1,
    ),
    Family(
        "patients",
        "NDA",
        lines("""
        took my {rx} after {surgery} as told, slept, done. {react}
        pharmacist explained my {rx} for {surgery} better than the surgeon did
        {surgery} {time}: they sent me home with {rx} and a leaflet, taking ibuprofen instead
        chronic pain patients are not addicts, stop treating my {rx} like a crime ^addiction,pain
        prior authorization for {rx} took {num} days, {react}
        took my leftover {rx} to the take-back box at {place}
        does {rx} make anyone else queasy after {surgery}? calling the doctor {day}
        {person} was prescribed {rx} for {surgery}, one day was enough
        picking up {person}'s prescription of {rx} at {place}, {react}
        """),
        tags=("prescription",),
        weight=1.5,
    ),
    Family(
        "clinicians",
        "NDA",
        lines("""
        as a {job} turned er nurse: {num} overdoses in one shift in {city}, we are tired ^overdose
        teaching residents to taper opioids slowly and kindly, {day} lecture ^opioids,prescription
        new guideline on buprenorphine in the er, summary for {state} clinicians ^buprenorphine,prescription
        ems saved {num} people with naloxone {time} in {city} ^naloxone,overdose
        withdrawal is not a moral failing, treat it. signed, your er doctor ^withdrawal
        reading on benzodiazepines and falls in older adults, {num} papers so far ^benzodiazepines
        methadone dosing errors in {num} wards, our poster at {place} ^methadone
        """),
        tags=("policy & news",),
        hashtags="news",
        link=0.3,
        weight=1.2,
    ),
    Family(
        "jokes and pop culture",
        "NDA",
        lines("""
        my {food} is basically cocaine, {react} ^stimulants
        {band} wrote a whole {music} about heroin in {year} and it's still {adj} ^heroin
        watching {show}: why does every cop have an opioid problem, {react} ^opioids
        {show} did the overdose scene {adj}, i had to pause ^overdose
        character in {show} sips lean in every scene, {react} ^codeine / lean
        {person} calls coffee “my methadone”, {react} ^methadone
        the xanax they gave {pet} for fireworks is stronger than me, {react} ^benzodiazepines
        rapper with {num} songs about percs says he never took one, {react} ^oxycodone
        halloween idea: a {job} on morphine, {react} ^morphine
        {music} of the year is called narcan and it's {adj} ^naloxone
        """),
        weight=1.2,
    ),
    Family(
        "other meanings",
        "NDA",
        lines("""
        lean on {person} when it's hard, {react}
        smack in the middle of {city} there is a {adj} {place}
        you can't script {play} like that, {react}
        the needle on my record player jumped during {band}, {react}
        my withdrawal at the atm was {num} and they charged me {num}
        dope {music} by {band}, {react}
        hooked on {game} and {food}, {react}
        kid is addicted to {game}, i'm addicted to silence
        od on {food} {time}, {react}
        plug for my friend's {food} stand at {place}
        crack of dawn and {pet} {petdoes}
        the pharmacist at {place} is also a {job}, {react}
        faded hoodie, {food}, {weather}. {react}
        growing pains: {person} is {num} cm taller, {react}
        """),
        wrong_tags=("slang & high",),
        weight=1.1,
    ),
]

# Everyday tweets ---------------------------------------------------------------------------------------------------

EVERYDAY = [
    Family(
        "sports",
        "NDA",
        lines("""
        {team} won with {play} {time}, {react}
        {play} and {team} still lost, {react}
        {person} coached {team} to {num} wins, {react}
        what a hit by the kid from {city}, {team} up {num}
        {sport} tryouts {time}, {person} made {team}
        ref missed {play} in the {num}th minute, {react}
        {num} years a fan of {team} and then {play}, {react}
        watching {sport} with {person} and {food}, {react}
        {team} traded for a {job} i swear, {react}
        free {sport} clinic for kids at {place} on {day}
        """),
        weight=1.2,
    ),
    Family(
        "food",
        "NDA",
        lines("""
        made {food} {time}, {person} had {num} helpings
        {food} {opinion}, {react}
        {food} at {place} {time}: {num}/10, {react}
        cooking a big pot of {food} for {person}, {weather} outside
        who puts {food} next to {food}, {react}
        {person} says my {food} {opinion}
        the {food} from {place} in {city} {opinion}
        recipe said {num} minutes. {num} hours later: {food}. {react}
        {food} for breakfast because {weather}, {react}
        burned the {food}, {pet} is thrilled
        """),
        weight=1.3,
    ),
    Family(
        "home and things",
        "NDA",
        lines("""
        {thing} {thingdoes} {time}, {react}
        {person} fixed {thing} with tape and hope, it {thingdoes}
        {thing} {thingdoes} and {thing} {thingdoes}, is it {day}
        sold {thing} to a {job} from {city}, {react}
        {num} dollars to repair {thing}, {react}
        {person} found {thing} at {place}, {adj}
        why does {thing} cost more than my rent, {react}
        moved to {city} with {num} boxes and {thing}, {react}
        """),
        weight=1.3,
    ),
    Family(
        "pets",
        "NDA",
        lines("""
        {pet} {petdoes} {time}, {react}
        {person} and {pet}: {adj} duo, {react}
        {pet} {petdoes} while i made {food}
        adopted {pet} at {place}, {person} cried
        {pet} is {num} today, {food} for everyone
        vet says {pet} needs less {food}, {react}
        dreamed that {pet} {petdoes}, woke up and {pet} {petdoes}
        """),
    ),
    Family(
        "work and school",
        "NDA",
        lines("""
        {num} meetings {time} and all i want is {wish}
        studying {subject} at {place}, {weather} outside, {react}
        failed {subject} by {num} points, {react}
        passed {subject}!!! {food} on me
        {person} got the {job} job in {city}, so proud
        my boss asked for {thing} and {num} slides {time}, {react}
        {day} shift as a {job}: {act}, {react}
        group project: one {job}, {num} ghosts and me, {react}
        interview {time}, {act}, {react}
        high school reunion in {city}, {num} years, {react}
        {num} lines of code and one bug, {react}
        teacher of {subject} wore {thing} to class, {react}
        """),
        weight=1.4,
    ),
    Family(
        "screens and music",
        "NDA",
        lines("""
        {show} {opinion}, {react}
        {num} episodes of {show} {time}, {react}
        new {music} by {band} {opinion}
        {band} at {place} {time}: {act}, {react}
        {person} sang the {music} by {band} at karaoke, {adj}
        no spoilers for {show} please, i {act} {time}
        {game} with {person} until 2am, lost {num} times
        bought {thing} because {show} told me to
        {band} {music} on repeat, {weather}, {food}, {react}
        """),
        weight=1.3,
    ),
    Family(
        "out and about",
        "NDA",
        lines("""
        {act} at {place} {time}, {react}
        {weather} at {place}, {act}, {react}
        road trip to {city} with {person} and {food}
        {num} hours on the train to {city} next to a {job}, {react}
        {city} in {weather} is {adj}
        {place} on a {day}: {act} and {act}
        hotel in {city} gave us {thing}, {react}
        walked {num} km in {weather}, all for {food}
        """),
        weight=1.3,
    ),
    Family(
        "small thoughts",
        "NDA",
        lines("""
        all i want is {wish} and {wish}
        nobody tells you a {job} needs {wish}, {react}
        {person} said “{act}” and i think about it {time}
        be kind to the {job} at {place}, {react}
        unpopular: {food} {opinion}
        {weather} + {food} + {band} = {adj}
        day {num} of asking for {wish}
        why is {person} like this, {react}
        if {person} calls, i'm at {place} with {food}
        {adj} {day}, {adj} coffee, {adj} people
        happy birthday to {person}, {num} and still {adj}
        my love language is {food} and {wish}
        is it me or is {weather} {adj} {time}
        """),
        weight=1.5,
    ),
    Family(
        "town and country",
        "NDA",
        lines("""
        {city} council votes on {thing} parking {day}, {react}
        road closed near {place} in {city} because of {weather}
        lost {pet} near {place}, {city}, call {handle}
        {state} will plant {num}00 trees by {year}, says {handle}
        power is out in {city} {time}, {act}
        election office at {place} opens {day}, bring {thing}
        library in {city} lends {thing} now, {react}
        bake sale for {team} at {place}: {food}, {food}, {food}
        local {job} from {city} wins {num} dollars, buys {food}
        {num} jobs at the new plant near {city}, {handle} reports
        """),
        weight=1.2,
        link=0.25,
    ),
    Family(
        "sales",
        "NDA",
        lines("""
        {num}% off {thing} at {place} until {day}
        win {thing}! follow {handle} and share, ends {day}
        our {food} truck is at {place} {time}, come say hi
        hiring a {job} in {city}, {day} shifts, dm {handle}
        grand opening of {place} in {city}, free {food} {time}
        """),
        link=0.6,
        weight=0.8,
    ),
]

# Everyday tweets that look like the others -------------------------------------------------------------------------

HARD = [
    Family(
        "hard: words",
        "NDA",
        lines("""
        these shoes are dope, {react}
        dope beat on the new {music} by {band}
        so addicted to {show}, {num} episodes {time}
        addicted to {food} and not sorry
        leg day at the gym, so much pain, {react}
        pain is just weakness leaving {place}, says {person}
        dentist wrote me a prescription for {wish}, {react}
        got my prescription sunglasses at {place}, {react}
        high school {sport} in {city}, {team} by {num}
        rent is so high in {city}, {react}
        gas prices getting high, {person} bought {thing} instead
        {team} pitcher threw smack down, {num} strikeouts
        coke zero with {food}, {react}
        {person} cracks me up, {act} {time}
        cracked my screen at {place}, {react}
        cash withdrawal fee of {num}, {react}
        withdrawal symptoms from {show}, {react}
        pine needles all over {thing}, {react}
        knitting needle number {num}, {person} wants a hat
        movie script about {job}s in {city}, who's in
        charger plug sparked, {thing} {thingdoes}
        shameless plug: my {food} blog, {react}
        used car dealer in {city} sold me {thing}, {react}
        overdose of cuteness: {pet} {petdoes}
        recovery run in {weather}, {num} km, {react}
        juice detox day {num}, i want {food}
        {team} are in recovery mode after {play}
        lean meat, {food} and sleep, says {person}
        leaning on {person} {time}, grateful
        that {music} is a banger, no pills needed, {react}
        chill pill for {person} please, {react}
        hard pill to swallow: {food} {opinion}
        speed bump took my {thing}, {react}
        shot of espresso number {num}, {react}
        flu shot at {place}, {act}
        weed the garden {time}, {weather}, {react}
        hash browns and {food}, {react}
        rolling in at {place} {time}, {act}
        blues night at {place} with {band}
        bars on this {music} by {band} are {adj}
        heroin chic was a {adj} decade for fashion ^heroin
        purdue basketball beat {team} by {num}
        """),
        weight=3,
    ),
    Family(
        "hard: situations",
        "NDA",
        lines("""
        ran out of coffee {early}, skin crawling, {react}
        who can lend me {num} for gas {payday}
        who can cover my shift {payday}, {react}
        sick {when}: sneezing, shivering, soup, {show}
        fever {when}, sweating through the sheets, {person} made {food}
        restless legs on the flight to {city}, {react}
        took two naps {when}, feel {adj}
        fell asleep at {place} {time}, {person} took a picture
        my guy at {place} ran out of {food}, {react}
        told work it's the flu. it's really the flu. {food} and {show}
        dropped my phone down the sink {time}, {react}
        i plan my whole day around when {pet} naps
        hid the {food} from {person}, found by {pet}
        met him behind {place}, proposal, i said yes!!!
        sold {thing} to pay for {person}'s {sport} camp
        {num} days until {team}, can't sleep
        two more days of antibiotics {time}, {react}
        my back is killing me after {act} at {place}
        pollen: nose running like a tap, eyes watering all night, {react}
        new doc finally listened about {surgery}, {react}
        hot then cold then hot, thanks {weather}
        vitamins, water and {food}: {person} at {num} looks {adj}
        """),
        weight=2,
    ),
    Family(
        "hard: moods",
        "NDA",
        lines("""
        ate all of {food} {when}, {mood}
        {team} lost again {when}, {mood}
        {show} {when} instead of studying {subject}, {mood}
        {num} hours of {game} {when}, {mood}
        bought {thing} {when}, {mood}
        called {person} by the wrong name {when}, {mood}
        cried at {show} {when}, {mood}
        texted my ex about {food}, {mood}
        skipped the gym {when}, {mood}
        {who} beat me at {game} {when}, {mood}
        dyed my hair {when}, {mood}
        {food} at 4am, {mood}
        forgot {person}'s birthday, {mood}
        been scrolling {when}, {mood}
        {weather} {when} and i'm {feel}, {mood}
        long bath, {band}, {feel}, {mood}
        massage at {place} {when}, i'm {feel}
        {who} fell asleep on {pet}, so warm, {mood}
        """),
        weight=1.6,
    ),
]
